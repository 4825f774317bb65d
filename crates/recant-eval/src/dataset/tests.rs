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

/// AKEW has CounterFact's form with other names for the answers; MQuAKE has facts in a list and asks in several steps.
#[test]
fn relatives_of_counterfact_are_read() {
    let akew = one(
        r#"{"case_id": 7, "requested_rewrite": {"prompt": "{} speaks", "subject": "Ada", "answer_new": "Veltish",
        "answer_true": "Tashic", "question": "What does Ada speak?", "fact_new_uns": "Ada, who ...",
        "unsfact_triplets_GPT": [], "prompt_full": "Ada speaks"}, "paraphrase_prompts": ["At home, Ada spoke"],
        "neighborhood_prompts": ["Bob speaks"]}"#,
    );
    let plain = one(COUNTERFACT);
    assert_eq!(akew.paraphrases, ["At home, Ada spoke", "What does Ada speak?"]);
    assert_eq!(Case { paraphrases: plain.paraphrases.clone(), ..akew }, plain);

    let fact = r#"{"prompt": "{} speaks", "relation_id": "P1", "subject": "Ada", "question": "What does Ada speak?",
        "target_new": {"str": "Veltish", "id": "a"}, "target_true": {"str": "Tashic", "id": "b"}}"#;
    let mquake = |facts: &str| {
        format!(
            r#"{{"case_id": 3, "requested_rewrite": [{facts}], "questions": ["Where is Ada's tongue at home?", "And where?"],
            "answer": "Tash", "answer_alias": [], "new_answer": "Velt", "new_answer_alias": ["Veltland"],
            "single_hops": [], "new_single_hops": [], "orig": {{}}}}"#
        )
    };
    let case = one(&mquake(fact));
    assert_eq!((case.id, case.fact.text().as_str(), case.fact.target.as_str()), (3, "Ada speaks", "Veltish"));
    assert_eq!(
        (case.paraphrases, case.target_true.as_deref()),
        (vec!["What does Ada speak?".to_owned()], Some("Tashic"))
    );
    assert_eq!(
        case.consequences,
        [follows("Where is Ada's tongue at home?", "Velt"), follows("And where?", "Velt")]
    );
    let told = complaint(&mquake(&format!("{fact}, {fact}")));
    assert!(told.contains("`requested_rewrite`: it changes 2 facts at once"), "{told}");
    assert!(complaint(&mquake("")).contains("`requested_rewrite`: it is empty"));
    let told = complaint(&mquake(&fact.replace("{\"str\": \"Veltish\", \"id\": \"a\"}", "null")));
    assert!(told.contains("`requested_rewrite[0].target_new.str`: it is missing"), "{told}");
}

/// RippleEdits says an edit as a sentence: its answer is at the end, its subject is what other questions are about too.
#[test]
fn ripple_edits_are_taken_apart() {
    let query = |prompt: &str, about: &str, answer: &str| {
        format!(
            r#"{{"test_queries": [{{"prompt": "{prompt}", "answers": [{{"value": "{answer}", "aliases": ["x"]}}],
            "query_type": "regular", "subject_id": "{about}", "relation": "R", "target_ids": ["Q9"], "phrase": null}}],
            "test_condition": "OR", "condition_queries": []}}"#
        )
    };
    let entry = |sentence: &str, before: &str, alias: &str| {
        format!(
            r#"{{"example_type": "popular", "edit": {{"prompt": "{sentence}", "subject_id": "Q1", "relation": "R",
            "target_id": "Q2"{before}}}, "Relation_Specificity": [{}, {}], "Logical_Generalization": [{}],
            "Subject_Aliasing": [{alias}], "Compositionality_I": [{}], "Compositionality_II": [], "Forgetfulness": [{}]}}"#,
            query("The name of the sister of Bo of Ash is", "Q7", "Eve"),
            query("The name of the mother of Ada of Velt is", "Q1", "Eve"),
            query("The name of the country of Ada of Velt's sister is", "Q1", "Ash"),
            query("The capital of the country of Ada of Velt is", "Q1", "Velten"),
            query("The names of the towns of Tash are", "Q8", "Tashen")
        )
    };
    let before =
        r#", "previous_fact": {"prompt": "The name of the country of citizenship of Ada of Velt is Tash."}"#;
    let alias = query("The name of the country of citizenship of Lady Ada is", "Q1", "Isle is Far");
    let case =
        one(&entry("The name of the country of citizenship of Ada of Velt is Isle is Far.", before, &alias));
    assert_eq!(case.fact.subject, "Ada of Velt");
    assert_eq!(case.fact.text(), "The name of the country of citizenship of Ada of Velt is");
    assert_eq!((case.fact.target.as_str(), case.target_true.as_deref()), ("Isle is Far", Some("Tash")));
    assert_eq!(case.paraphrases, ["The name of the country of citizenship of Lady Ada is"]);
    let answers = |of: &[Consequence]| of.iter().map(|of| of.answer.clone()).collect::<Vec<_>>();
    assert_eq!(answers(&case.consequences), ["Ash", "Velten"]);
    let truths: Vec<_> = case.neighbours.iter().map(|of| of.truth.as_deref().unwrap()).collect();
    assert_eq!(truths, ["Eve", "Eve", "Tashen"]);
    // The paper's own page spells the axis in another way.
    let sentence = "The name of the country of citizenship of Ada of Velt is Isle is Far.";
    let misspelled = entry(sentence, before, &alias).replace("Relation_Specificity", "Relation_Specifity");
    assert_eq!(one(&misspelled), case);
    // Without an alias that tells the answer, it stands behind the last verb.
    let case = one(&entry("The names of the siblings of Ada of Velt are Zed.", "", ""));
    assert_eq!((case.fact.target.as_str(), case.target_true), ("Zed", None));
    let told = complaint(&entry("Ada of Velt, citizen of Tash.", "", ""));
    assert!(told.contains("`edit.prompt`: it does not end with an answer"), "{told}");
    let told = complaint(&entry("Ada is Zed.", "", "7"));
    assert!(told.contains("`Subject_Aliasing[0]`: it is a number; an object"), "{told}");
}

#[test]
fn further_forms_are_read() {
    let hallu = one(
        r#"{"topic": "t", "subject": "Ada", "relation": "tongue", "object": "Veltish", "question": "What does Ada speak?",
        "output_llama": "Tashic", "eval_llama": "0.0", "paraphrased_question": "Which tongue has Ada?",
        "locality_question": "Where does Ada live?", "yes_question": "y", "no_question": "n", "question_2hop": "Where is it spoken?",
        "answer_2hop": "Velt", "question_3hop": "", "answer_3hop": ""}"#,
    );
    assert_eq!((hallu.fact.text().as_str(), hallu.fact.target.as_str()), ("What does Ada speak?", "Veltish"));
    assert_eq!(hallu.consequences, [follows("Where is it spoken?", "Velt")]);
    assert_eq!(hallu.neighbours, [Neighbour { prompt: "Where does Ada live?".to_owned(), truth: None }]);

    let chinese = one(
        r#"{"prompt": "艾达的母语是什么？", "target_old": "塔什语", "target_new": "维尔特语", "rephrase": ["艾达说什么语言？"],
        "portability": [], "locality": [{"prompt": "鲍勃说什么？", "ground_truth": "奥尔语"}]}"#,
    );
    assert!(!chinese.fact.has_subject());
    assert_eq!((chinese.target_true.as_deref(), chinese.neighbours.len()), (Some("塔什语"), 1));

    let bio = r#"{"concept": "ada", "text": "This is a passage about ada. Ada was", "labels": "a weaver.",
        "locality": {"Relation_Specificity": [{"prompt": "ada's town is", "ground_truth": ["Velt"]}]}}"#;
    let told = one(bio);
    assert_eq!((told.fact.subject.as_str(), told.fact.target.as_str()), ("ada", "a weaver."));
    assert_eq!(told.neighbours[0].truth.as_deref(), Some("Velt"));
    assert!(!one(&bio.replace("about ada", "about her")).fact.has_subject());
}

/// A file put together of several forms has null where a key is another form's, and further keys tell nothing of an entry
/// that is of a form without them.
#[test]
fn what_is_null_and_what_is_further_tell_no_form() {
    let with = |more: &str| EASYEDIT.trim_end().strip_suffix('}').unwrap().to_owned() + more + "}";
    for more in [
        r#", "requested_rewrite": null, "src": null, "update": null, "para_question": null, "target_old": null"#,
        r#", "target_old": "Ormic", "concept": "c", "text": "t", "labels": "l", "edit": {}, "example_type": "recent""#,
        r#", "question": "q", "object": "o", "locality_question": "l""#,
    ] {
        assert_eq!(one(&with(more)), one(EASYEDIT), "{more}");
    }
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
