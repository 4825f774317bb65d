//! The ids of prompts and targets are those of running text, with byte-level and with SentencePiece tokenizers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use recant_text::{ChatFrame, Tokenizer};
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../recant-model/tests/fixtures").join(name)
}

fn open(name: &str) -> Tokenizer {
    Tokenizer::open(&fixture(name)).unwrap()
}

const PREPEND: &str = "llama-tiny-sp/tokenizer.json";
const METASPACE: &str = "llama-tiny-sp/tokenizer-metaspace.json";
const BYTES: &str = "gpt2-tiny/tokenizer.json";

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn targets_are_those_of_running_text() {
    let reference = std::fs::read(fixture("llama-tiny-sp/tokens.json")).unwrap();
    let reference: Value = serde_json::from_slice(&reference).unwrap();
    let prepend = open(PREPEND);
    for case in reference["texts"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(prepend.encode(text).unwrap(), ids(&case["ids"]), "{text:?}");
    }
    let cases = reference["continuations"].as_array().unwrap();
    assert!(cases.len() >= 5);
    for case in cases {
        let (prompt, target) = (case["prompt"].as_str().unwrap(), case["target"].as_str().unwrap());
        for name in [PREPEND, METASPACE] {
            let found = open(name).continuation(prompt, target, false).unwrap();
            assert_eq!(found.prompt, ids(&case["prompt_ids"]), "{name} {prompt:?}");
            assert_eq!(found.target, ids(&case["target_ids"]), "{name} {prompt:?} {target:?}");
        }
    }
}

/// A byte-level tokenizer splits before a blank, so a blank and the target encoded alone are the same ids.
#[test]
fn with_a_byte_level_tokenizer_the_target_is_a_blank_and_the_word() {
    let tokenizer = open(BYTES);
    let prompts = ["The capital of Italy is", "It's 2024, they're", "x.", "(a)", "naïve"];
    for prompt in prompts {
        for target in ["Rome", "the city of Paris.", "3 people", "(b)", "\"x\"", "'Allo", "-1"] {
            let found = tokenizer.continuation(prompt, target, false).unwrap();
            assert_eq!(found.prompt, tokenizer.encode(prompt).unwrap());
            assert_eq!(
                found.target,
                tokenizer.encode(&format!(" {target}")).unwrap(),
                "{prompt:?} {target:?}"
            );
        }
    }
}

/// Texts of the tokens that a target has.
fn texts(tokenizer: &Tokenizer, prompt: &str, target: &str, literal: bool) -> String {
    let found = tokenizer.continuation(prompt, target, literal).unwrap();
    let texts = found.target.iter().map(|&id| tokenizer.token_text(id).unwrap());
    texts.collect::<Vec<_>>().concat()
}

#[test]
fn the_separator_is_that_of_running_text() {
    for name in [BYTES, PREPEND, METASPACE] {
        let tokenizer = open(name);
        for (prompt, target, literal, expected) in [
            ("The city is", "Rome", false, " Rome"),
            ("The city is ", "Rome", false, " Rome"),
            ("The city is  ", "Rome", false, " Rome"),
            ("The city is:\n", "Rome", false, "Rome"),
            ("The city is:\n\n", "Rome", false, "Rome"),
            ("The \"", "Rome", false, "Rome"),
            ("The city (", "Rome", false, "Rome"),
            ("The city", ", Rome", false, ", Rome"),
            ("The city is", "Rome", true, "Rome"),
            ("The city is", " Rome", true, " Rome"),
            ("The city is", "  Rome", true, "  Rome"),
            ("The city is ", "Rome", true, " Rome"),
            ("The ci", "ty", true, "ty"),
        ] {
            let found = texts(&tokenizer, prompt, target, literal);
            assert_eq!(found, expected, "{name}: {prompt:?} {target:?} literal {literal}");
        }
    }
}

#[test]
fn nothing_stands_after_a_special_token() {
    assert_eq!(texts(&open(BYTES), "The city is<|endoftext|>", "Rome", false), "Rome");
    assert_eq!(texts(&open(METASPACE), "The city is</s>", "Rome", false), "Rome");
    // This form begins each part between special tokens with a blank of its own; there is not a second one.
    assert_eq!(texts(&open(PREPEND), "The city is</s>", "Rome", false), " Rome");
}

/// A border within a token: the prompt's ids are its own, and the target's text is whole.
#[test]
fn a_token_across_the_border_is_not_used() {
    for name in [BYTES, PREPEND, METASPACE] {
        let tokenizer = open(name);
        let word = tokenizer.continuation("The", "city", false).unwrap().target;
        assert_eq!(word.len(), 1, "{name}: one token for the word");
        let found = tokenizer.continuation("The ci", "ty", true).unwrap();
        assert_eq!(found.prompt, tokenizer.encode("The ci").unwrap(), "{name}");
        let whole = [found.prompt.clone(), found.target].concat();
        assert_eq!(tokenizer.decode_after(&whole, found.prompt.len()).unwrap(), "ty", "{name}");
    }
}

#[test]
fn decoded_text_keeps_its_blanks() {
    for name in [BYTES, PREPEND, METASPACE] {
        let tokenizer = open(name);
        for (prompt, target, text) in [("The city", "of", " of"), ("東京", "日本", "日本"), ("a\n", "b", "b")]
        {
            let found = tokenizer.continuation(prompt, target, false).unwrap();
            let (at, whole) = (found.prompt.len(), [found.prompt, found.target].concat());
            assert_eq!(tokenizer.decode_after(&whole, at).unwrap(), text, "{name}");
            assert_eq!(tokenizer.decode(&whole).unwrap(), format!("{prompt}{text}"), "{name}");
        }
        let word = tokenizer.continuation("The", "city", false).unwrap().target[0];
        assert_eq!(tokenizer.token_text(word).unwrap(), " city", "{name}");
    }
    assert_eq!(open(BYTES).token_text(0).unwrap(), "<|endoftext|>");
    assert_eq!(open(PREPEND).token_text(1).unwrap(), "<s>");
}

/// In a chat, prompts are read inside the frame, spans are those of the prompt, and a target ends as an answer does.
#[test]
fn a_chat_frame_stands_around_every_prompt() {
    let plain = open(BYTES);
    let frame = ChatFrame {
        head: "<|endoftext|>She said: ".into(),
        tail: " <|endoftext|>".into(),
        end: "<|endoftext|>\n".into(),
    };
    let end = plain.encode("<|endoftext|>").unwrap()[0];
    let chat = plain.in_chat(frame.clone(), true).unwrap();
    assert_eq!((chat.end_token(), plain.end_token()), (Some(end), None));
    let text = format!("{}The city{}", frame.head, frame.tail);
    assert_eq!(chat.encode("The city").unwrap(), plain.encode(&text).unwrap());
    let spans = chat.encode_with_spans("The city").unwrap();
    let covered: String = spans.iter().map(|(_, span)| &"The city"[span.clone()]).collect();
    assert_eq!(covered, "The city");
    let both = chat.continuation("The city", "Rome", false).unwrap();
    let whole = plain.encode(&format!("{text}Rome<|endoftext|>")).unwrap();
    assert_eq!([both.prompt, both.target].concat(), whole);
    let open_end = plain.in_chat(frame, false).unwrap().continuation("The city", "Rome", false).unwrap();
    assert_eq!(open_end.target.last().map(|&id| id == end), Some(false));
    assert_eq!(chat.plain().encode("The city").unwrap(), plain.encode("The city").unwrap());
}
