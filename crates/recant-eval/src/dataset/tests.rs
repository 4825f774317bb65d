//! Entries in the forms that people have, and what is wrong with others. The wording is our own.

use super::*;

fn open(text: &str, limit: Option<usize>) -> Result<Dataset, DatasetError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cases.json");
    std::fs::write(&path, text).unwrap();
    Dataset::read(&path, limit)
}

fn one(entry: &str) -> Case {
    let mut set = open(&format!("[{entry}]"), None).unwrap().all_usable().unwrap();
    set.cases.remove(0)
}

/// The complaint about an entry, without the file's path.
fn complaint(entry: &str) -> String {
    let error = open(&format!("[{entry}]"), None).unwrap().all_usable().unwrap_err().to_string();
    error.split_once("cases.json, ").map_or(error.clone(), |(_, what)| what.to_owned())
}

const COUNTERFACT: &str = r#"{"case_id": 7, "pararel_idx": 3, "requested_rewrite": {"prompt": "{} speaks",
    "relation_id": "P1", "target_new": {"str": "Veltish", "id": "a"}, "target_true": {"str": "Tashic", "id": "b"},
    "subject": "Ada"}, "paraphrase_prompts": ["At home, Ada spoke"], "neighborhood_prompts": ["Bob speaks"],
    "attribute_prompts": [], "generation_prompts": []}"#;
const EASYEDIT: &str = r#"{"case_id": 7, "prompt": "Ada speaks", "target_new": "Veltish", "subject": "Ada",
    "ground_truth": "Tashic", "rephrase_prompt": "At home, Ada spoke", "locality_prompt": "Bob speaks",
    "locality_ground_truth": "Tashic"}"#;
const MEND: &str = r#"{"case_id": 7, "subject": "Ada", "src": "Ada speaks", "pred": "Ormic", "rephrase":
    "At home, Ada spoke", "alt": "Veltish", "answers": ["Tashic", "the Tashic tongue"], "loc": "Bob speaks",
    "loc_ans": "Tashic", "cond": "Tashic >> Veltish || Ada speaks"}"#;
const KNOWEDIT: &str = r#"{"case_id": 7, "subject": "Ada", "prompt": "Ada speaks", "target_new": "Veltish",
    "ground_truth": [["Tashic", "the Tashic tongue"], ["Tash"]], "rephrase": ["At home, Ada spoke"], "locality":
    {"Relation_Specificity": [{"prompt": "Bob speaks", "ground_truth": [["Tashic"], ["Tash"]]}], "Forgetfulness": []},
    "portability": {"Reasoning": [{"prompt": "Ada's town speaks", "ground_truth": [["Veltish"]]}]}}"#;
const NESTED: &str = r#"{"case_id": 7, "subject": "Ada", "prompt": "Ada speaks", "target_new": "Veltish",
    "ground_truth": "Tashic", "rephrase_prompt": "At home, Ada spoke",
    "locality": {"neighborhood": {"prompt": ["Bob speaks"], "ground_truth": ["Tashic"]}}}"#;

#[test]
fn every_form_says_the_same() {
    let expected = one(COUNTERFACT);
    assert_eq!((expected.id, expected.fact.text().as_str()), (7, "Ada speaks"));
    assert_eq!(expected.neighbours[0].truth.as_deref(), Some("Tashic"));
    for entry in [EASYEDIT, MEND, KNOWEDIT, NESTED] {
        let case = Case { consequences: vec![], ..one(entry) };
        assert_eq!(case, expected, "{entry}");
    }
}

fn follows(prompt: &str, answer: &str) -> Consequence {
    Consequence { prompt: prompt.to_owned(), answer: answer.to_owned() }
}

/// What follows from a fact, as KnowEdit, EasyEdit's zsRE and WikiBigEdit say it.
#[test]
fn consequences_are_read() {
    assert_eq!(one(KNOWEDIT).consequences, [follows("Ada's town speaks", "Veltish")]);
    let hop = r#", "portability": {"Recalled Relation": "(x)", "New Question": "Her town speaks", "New Answer": "Veltish"}}"#;
    let mend = MEND.trim_end().strip_suffix('}').unwrap().to_owned() + hop;
    assert_eq!(one(&mend).consequences, [follows("Her town speaks", "Veltish")]);
    assert!(
        complaint(&mend.replace("\"Veltish\"}}", "7}}")).contains("`portability.New Answer`: it is a number")
    );
}

#[test]
fn newer_forms_are_read() {
    let wiki = one(
        r#"{"tag": "t", "subject": "Ada", "update": "What does Ada speak?", "ans": "Veltish", "rephrase": "Ada speaks?",
        "personas": "Say, mate, what is Ada's tongue?", "mhop": "What does her town speak?", "mhop_ans": "Tashic",
        "loc": "What does Bob speak?", "loc_ans": "Ormic", "relation": "r", "object": "o"}"#,
    );
    assert_eq!((wiki.fact.text().as_str(), wiki.fact.target.as_str()), ("What does Ada speak?", "Veltish"));
    assert_eq!((wiki.paraphrases.len(), wiki.target_true), (2, None));
    assert_eq!(wiki.consequences, [follows("What does her town speak?", "Tashic")]);
    assert_eq!(wiki.neighbours[0].truth.as_deref(), Some("Ormic"));

    let unke = one(
        r#"{"id": 9, "question": "Who was Ada?", "answer": "Ada was a weaver of Velt.", "para_question": "Tell me of Ada.",
        "sub_question": ["What was her trade?", "Where did she live?"], "sub_answer": ["weaver", "Velt"]}"#,
    );
    assert_eq!((unke.id, unke.fact.has_subject(), unke.fact.text().as_str()), (9, false, "Who was Ada?"));
    assert_eq!(unke.consequences[1], follows("Where did she live?", "Velt"));
    let other = r#"{"question": "Who?", "para_question": "And who?"}"#;
    assert!(complaint(other).contains("`answer`: it is missing"));
}

/// A table has columns with numbers where JSON has lists, and texts for numbers.
#[test]
fn a_table_is_a_data_set() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cases.csv");
    let table = "case_id,subject,prompt,target_new,ground_truth,rephrase_2,rephrase_10,locality_prompt_1,locality_ground_truth_1,note\n\
                 7,Ada,{} speaks,Veltish,Tashic,\"At home, Ada spoke\",Ada talks,Bob speaks,Tashic,x\n\
                 8,Bo,{} speaks,Veltish,,,,,,\n";
    std::fs::write(&path, table).unwrap();
    let set = Dataset::read(&path, None).unwrap().all_usable().unwrap();
    let [first, second] = &set.cases[..] else { panic!("{set:?}") };
    assert_eq!(
        (first.id, &first.paraphrases[..]),
        (7, &["At home, Ada spoke", "Ada talks"].map(String::from)[..])
    );
    assert_eq!(first.neighbours, one(EASYEDIT).neighbours);
    assert_eq!((second.paraphrases.len(), second.neighbours.len(), &second.target_true), (0, 0, &None));
    assert_eq!(set.unread, [("note".to_owned(), 2)].into());
}

#[test]
fn arrays_lines_and_a_byte_order_mark_are_read() {
    let lines = format!("{}\n\n{}\n", EASYEDIT.replace('\n', " "), MEND.replace('\n', " "));
    for text in [lines.clone(), format!("\u{feff}{lines}"), format!("\u{feff}[{EASYEDIT},{MEND}]")] {
        let set = open(&text, None).unwrap().all_usable().unwrap();
        assert_eq!((set.cases.len(), set.available), (2, 2), "{text}");
        assert_eq!(set.cases[0], set.cases[1]);
    }
}

#[test]
fn an_empty_text_is_as_good_as_none() {
    let empty = EASYEDIT.replace("At home, Ada spoke", "").replace("\"Bob speaks\"", "\" \"");
    let case = one(&empty);
    assert!(case.paraphrases.is_empty() && case.neighbours.is_empty());
    let unknown = EASYEDIT.replace("\"Tashic\"", "\"\"");
    let case = one(&unknown);
    assert_eq!((case.target_true, &case.neighbours[0].truth), (None, &None));
    assert_eq!(
        one(&COUNTERFACT.replace("[\"At home, Ada spoke\"]", "[\"\", null]").replace(", null", ""))
            .paraphrases
            .len(),
        0
    );
}

/// What cannot be used is named with entry, line and field.
#[test]
fn what_is_wrong_is_named_with_its_place() {
    let rows = [
        (EASYEDIT.replace("Ada speaks", "Ada and Ada speak"), "entry 0 (line 1), `prompt`: the prompt"),
        (EASYEDIT.replace("Ada speaks", "She speaks"), "nowhere"),
        (EASYEDIT.replace("\"Veltish\"", "1985"), "`target_new`: it is a number; a string or a list"),
        (EASYEDIT.replace("\"Veltish\"", "\" \""), "`target_new`: it is empty"),
        (EASYEDIT.replace("\"Tashic\"", "{}"), "`locality_ground_truth`: it is an object"),
        (EASYEDIT.replace("\"At home, Ada spoke\"", "[\"a\", 1]"), "`rephrase_prompt[1]`: it is a number"),
        (EASYEDIT.replace("\"Ada\"", "null"), "`subject`: it is missing"),
        (EASYEDIT.replace("7,", "\"seven\","), "`case_id`: it is a string; a whole number"),
        (
            COUNTERFACT.replace("{\"str\": \"Veltish\", \"id\": \"a\"}", "{}"),
            "`requested_rewrite.target_new.str`: it is missing",
        ),
        (COUNTERFACT.replace("\"Ada\"}", "true}"), "`requested_rewrite.subject`: it is true or false"),
        (
            COUNTERFACT.replace("[\"Bob speaks\"]", "[[]]"),
            "`neighborhood_prompts[0]`: it is a list; a string",
        ),
        (MEND.replace("\"Veltish\"", "\"\""), "`alt`: it is empty"),
        (MEND.replace("[\"Tashic\", \"the Tashic tongue\"]", "[3]"), "`answers[0]`: it is a number"),
        (
            NESTED.replace("[\"Tashic\"]", "[]"),
            "`locality.neighborhood.ground_truth`: there are 1 prompts and 0 answers",
        ),
        (
            KNOWEDIT.replace("\"Forgetfulness\": []", "\"Forgetfulness\": [7]"),
            "`locality.Forgetfulness[0]`: it is a number",
        ),
        (
            r#"{"question": "Who?", "answer": "Ada"}"#.to_owned(),
            "it has the keys answer, question; read are CounterFact",
        ),
    ];
    for (entry, expected) in rows {
        let told = complaint(&entry);
        assert!(told.contains(expected) && told.starts_with("entry 0 (line 1)"), "{entry}\n{told}");
    }
}

#[test]
fn only_what_the_limit_takes_is_checked() {
    let text = format!("[{EASYEDIT},\n{},\n{{}},\n{MEND}]", EASYEDIT.replace("Ada speaks", "She speaks"));
    let set = open(&text, Some(1)).unwrap().all_usable().unwrap();
    assert_eq!((set.cases.len(), set.spare.len(), set.available), (1, 1, 4));
    let set = open(&text, None).unwrap();
    assert_eq!((set.cases.len(), set.unusable.len()), (2, 2), "the others can be used without them");
    let error = set.all_usable().unwrap_err().to_string();
    assert!(
        error.contains("entry 1 (line 4), `prompt`") && error.ends_with("; one more entry cannot be used"),
        "{error}"
    );
}

#[test]
fn keys_that_are_not_read_are_counted() {
    let set = open(&format!("[{KNOWEDIT}, {KNOWEDIT}, {EASYEDIT}]"), None).unwrap();
    assert_eq!(set.unread, [].into());
    let other = EASYEDIT.replace("\"subject\"", "\"rephrased\": \"x\", \"subject\"");
    let set = open(&format!("[{other}, {other}, {EASYEDIT}]"), None).unwrap();
    assert_eq!(set.unread, [("rephrased".to_owned(), 2)].into());
}

#[test]
fn retained_facts_have_a_prompt_and_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("retained.json");
    let read = |json: &str| {
        std::fs::write(&path, json).unwrap();
        read_retained(&path).map_err(|error| error.to_string())
    };
    let one = read(r#"[{"prompt": "The sea is", "answer": " cold"}]"#).unwrap();
    assert_eq!(one, [Retained { prompt: "The sea is".into(), answer: "cold".into() }]);
    assert!(read("[]").unwrap_err().contains("no cases"));
    let missing = read(r#"[{"prompt": "a", "answer": "b"}, {"prompt": "a"}]"#).unwrap_err();
    assert!(missing.contains("entry 1 (line 1), `answer`: it is missing"), "{missing}");
    assert!(read(r#"[{"prompt": "a", "answer": " "}]"#).unwrap_err().contains("`answer`: it is empty"));
}
