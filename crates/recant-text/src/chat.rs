//! A model's own chat template, as text before and behind a question.
//!
//! Templates are programs in Jinja, which come with the tokenizer of a chat model: in `chat_template.jinja`, or in
//! `tokenizer_config.json`. One is run here with a mark in the place of the question; what comes before the mark and
//! behind it is the same for every question. Programs of strangers are bounded: so many steps, and no more text.

use std::sync::Arc;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use serde_json::Value;

/// Stands for the question while a template runs: private characters, which no text of a template has.
const QUESTION: &str = "\u{E0F0}question\u{E0F0}";
/// The same for an answer.
const ANSWER: &str = "\u{E0F1}answer\u{E0F1}";
/// Steps that a template may take.
const FUEL: u64 = 1_000_000;
/// Bytes of the longest text that a template may make of a mark, and of the longest template.
const MAX_BYTES: usize = 1 << 20;

/// What a chat model reads around a question, and how its answer ends. Cloning shares the texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatFrame {
    /// All text before the question: a system's message, the name of who asks.
    pub head: Arc<str>,
    /// All text behind it, up to where the answer begins.
    pub tail: Arc<str>,
    /// What follows an answer; empty when the template says nothing.
    pub end: Arc<str>,
}

/// A chat template cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// There is none.
    #[error("it has no chat template; without one a prompt is read as it stands")]
    None,
    /// A file is not what it should be.
    #[error("{file} cannot be read: {reason}")]
    File {
        /// Its name.
        file: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// It does not run.
    #[error("its chat template fails: {reason}")]
    Template {
        /// What the template engine says.
        reason: String,
    },
    /// It takes too long.
    #[error("its chat template takes more than {FUEL} steps; it may never end")]
    Endless,
    /// It is longer, or makes more text, than any.
    #[error("its chat template has or makes more than {MAX_BYTES} bytes")]
    TooLong,
    /// The question does not come out once.
    #[error("its chat template says the question {count} times, where it should say it once")]
    Question {
        /// How often it came out.
        count: usize,
    },
}

impl ChatFrame {
    /// The frame of a model: `template` is `chat_template.jinja`, `config` is `tokenizer_config.json`.
    ///
    /// # Errors
    /// [`ChatError`].
    pub fn of_files(template: Option<&[u8]>, config: Option<&[u8]>) -> Result<Self, ChatError> {
        let config: Value = match config {
            None => Value::Null,
            Some(json) => serde_json::from_slice(json).map_err(|error| ChatError::File {
                file: "tokenizer_config.json",
                reason: error.to_string(),
            })?,
        };
        let template = match template {
            Some(text) => Some(String::from_utf8(text.to_vec()).map_err(|error| ChatError::File {
                file: "chat_template.jinja",
                reason: error.to_string(),
            })?),
            None => in_config(&config["chat_template"]),
        };
        let template = template.ok_or(ChatError::None)?;
        if template.len() > MAX_BYTES {
            return Err(ChatError::TooLong);
        }
        let asked = run(&template, &config, &[("user", QUESTION)], true)?;
        let (head, tail) = match asked.matches(QUESTION).count() {
            1 => asked.split_once(QUESTION).unwrap_or_default(),
            count => return Err(ChatError::Question { count }),
        };
        // A template that refuses a finished talk says nothing of its end.
        let talk = run(&template, &config, &[("user", QUESTION), ("assistant", ANSWER)], false);
        let end = talk.ok().and_then(|talk| Some(talk.rsplit_once(ANSWER)?.1.to_owned())).unwrap_or_default();
        Ok(Self { head: head.into(), tail: tail.into(), end: end.into() })
    }
}

/// The template in `tokenizer_config.json`: a text, or a list of named ones.
fn in_config(value: &Value) -> Option<String> {
    let named = |list: &Vec<Value>| {
        let default = list.iter().find(|entry| entry["name"] == "default").or(list.first());
        default.and_then(|entry| entry["template"].as_str().map(str::to_owned))
    };
    value.as_str().map(str::to_owned).or_else(|| value.as_array().and_then(named))
}

fn run(
    template: &str,
    config: &Value,
    messages: &[(&str, &str)],
    add_generation_prompt: bool,
) -> Result<String, ChatError> {
    let mut environment = Environment::new();
    // As transformers sets the engine up.
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.map_err(told)?);
    environment.set_fuel(Some(FUEL));
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.add_function("raise_exception", |reason: String| -> Result<String, minijinja::Error> {
        Err(minijinja::Error::new(ErrorKind::InvalidOperation, reason))
    });
    let token = |name: &str| {
        let token = &config[name];
        token.as_str().or_else(|| token["content"].as_str()).unwrap_or_default().to_owned()
    };
    let message = |(role, content): &(&str, &str)| serde_json::json!({ "role": role, "content": content });
    let context = serde_json::json!({
        "messages": messages.iter().map(message).collect::<Vec<_>>(),
        "add_generation_prompt": add_generation_prompt,
        "bos_token": token("bos_token"), "eos_token": token("eos_token"), "unk_token": token("unk_token"),
        "pad_token": token("pad_token"),
    });
    let mut text = Bounded(String::new());
    let template = environment.template_from_str(template).map_err(told)?;
    let written = template.render_captured_to(minijinja::Value::from(Serde(&context)), &mut text).map(drop);
    match written {
        Err(_) if text.0.len() >= MAX_BYTES => Err(ChatError::TooLong),
        Err(error) => Err(told(error)),
        Ok(_) => Ok(text.0),
    }
}

fn told(error: minijinja::Error) -> ChatError {
    match error.kind() {
        ErrorKind::OutOfFuel => ChatError::Endless,
        _ => ChatError::Template { reason: error.to_string() },
    }
}

/// Takes text up to a length.
struct Bounded(String);

impl std::io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.push_str(&String::from_utf8_lossy(bytes));
        if self.0.len() >= MAX_BYTES {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(template: &str) -> Result<ChatFrame, ChatError> {
        ChatFrame::of_files(Some(template.as_bytes()), Some(br#"{"bos_token":{"content":"<s>"}}"#))
    }

    #[test]
    fn a_template_is_a_head_a_tail_and_an_end() {
        let chatml = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + \
                      '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
        let found = frame(chatml).unwrap();
        assert_eq!(&*found.head, "<|im_start|>user\n");
        assert_eq!(&*found.tail, "<|im_end|>\n<|im_start|>assistant\n");
        assert_eq!(&*found.end, "<|im_end|>\n");
        // Methods of Python's texts, the token that begins a text, a list of named templates.
        let stripped = "{{ bos_token }}{% for m in messages %}[{{ m.content.strip() | trim }}]{% endfor %}";
        assert_eq!(&*frame(stripped).unwrap().head, "<s>[");
        let listed = br#"{"chat_template":[{"name":"tool_use","template":"x"},{"name":"default","template":"Q {{ messages[0].content }} A"}]}"#;
        let found = ChatFrame::of_files(None, Some(listed)).unwrap();
        assert_eq!((&*found.head, &*found.tail), ("Q ", " A"));
    }

    #[test]
    fn what_cannot_be_used_is_one_error() {
        let refused = |template: &str| frame(template).unwrap_err().to_string();
        for (template, told) in [
            ("{% for x in range(100000) %}{% for y in range(100000) %}{% endfor %}{% endfor %}", "steps"),
            ("{% for x in range(90000) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' }}{% endfor %}", "bytes"),
            ("{{ raise_exception('only with tools') }}", "only with tools"),
            ("{% if %}", "fails"),
            ("hello", "0 times"),
            ("{{ messages[0].content }}{{ messages[0].content }}", "2 times"),
            ("{{ messages[0].content.nothing() }}", "fails"),
        ] {
            assert!(refused(template).contains(told), "{template}: {}", refused(template));
        }
        assert!(matches!(ChatFrame::of_files(None, Some(b"{}")), Err(ChatError::None)));
        assert!(matches!(ChatFrame::of_files(None, Some(b"{")), Err(ChatError::File { .. })));
    }
}
