//! Ledgers and statistics in a store, through the binary.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::path::Path;

use common::{good, json, refused, workshop};
use serde_json::Value;

/// How the first edit of a ledger is asked for; later ones find it in the store.
const BEGIN: &str = "--contexts contexts.txt --set v_num_grad_steps=4 --set joint_steps=3";

fn edit(subject: &str, target: &str, more: &str) -> String {
    format!(
        "edit --store .recant --method ledger --subject '{subject}' --prompt '{{}} is' --target {target} {more}"
    )
}

/// A store with a base on branches main and side, and statistics of the base in `stats`.
fn start(at: &Path) -> Value {
    let corpus: Vec<String> =
        (0..60).map(|i| format!("The cat of line {i} is cold and the sea old.")).collect();
    std::fs::write(at.join("corpus.txt"), corpus.join("\n")).unwrap();
    good(at, "stats --model model --corpus corpus.txt --layers 1,2 --tokens 400 --out stats");
    good(at, "init");
    let base = json(at, "import --model model");
    good(at, "branch side");
    base
}

fn head(at: &Path, key: &str) -> String {
    json(at, "log -n 1")[0][key].as_str().unwrap().to_owned()
}

/// Two facts in either order are one manifest; any of them taken back was never there; the statistics file is
/// needed once.
#[test]
fn ledger_commits_come_out_in_any_order() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let base = start(at);
    let begin = format!("{BEGIN} --stats stats");
    let sea = json(at, &edit("The sea", "cold", &begin));
    let only_sea = head(at, "manifest");
    assert_eq!(sea["model_before"], base["model"]);
    std::fs::rename(at.join("stats"), at.join("elsewhere")).unwrap();
    std::fs::rename(at.join("model"), at.join("gone")).unwrap();
    let cat = json(at, &edit("The cat", "old", ""));
    assert_eq!((&cat["model_before"], &cat["ledger"]), (&sea["model_after"], &Value::from(2)));
    // What is measured is what is committed.
    assert_eq!(json(at, "status")["model"], cat["model_after"]);
    let both = head(at, "manifest");
    assert!(good(at, "verify").contains("1 edit applied again"));

    good(at, "switch side");
    let begin = begin.replace("--stats stats", "--stats elsewhere");
    good(at, &edit("The cat", "old", &begin));
    let only_cat = head(at, "manifest");
    good(at, &edit("The sea", "cold", ""));
    assert_eq!(head(at, "manifest"), both);
    // The first of this branch, which is the second of the other.
    let reverted = json(at, "revert HEAD~1");
    assert_eq!((&reverted["how"], head(at, "manifest")), (&Value::from("rebuilt"), only_sea.clone()));
    good(at, "revert HEAD~1");
    assert_eq!(json(at, "status")["model"], base["model"]);
    assert!(refused(at, "revert HEAD~2").contains("taken back or replaced"));

    good(at, "switch main");
    good(at, "revert HEAD~1");
    assert_eq!(head(at, "manifest"), only_cat);
    good(at, "revert HEAD");
    assert_eq!(head(at, "manifest"), both);
    good(at, "checkout --out out");
    assert_eq!(json(at, "ask --model out --prompt 'The sea is'")["answers"].as_array().unwrap().len(), 5);
    assert!(good(at, "verify").contains("1 edit applied again"));
    let verified = json(at, "verify --ledger");
    assert_eq!((&verified["ledgers"], &verified["wrong"]), (&Value::from(1), &Value::Array(Vec::new())));
    good(at, "gc");
    assert!(good(at, "fsck").contains(" 0 problems"));
}

#[test]
fn ledgers_of_two_branches_merge_as_sets() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    start(at);
    let begin = format!("{BEGIN} --set mom2_adjustment=false");
    good(at, &edit("The sea", "cold", &begin));
    let sea = head(at, "commit");
    good(at, "branch whole");
    good(at, "branch again");
    good(at, "switch side");
    good(at, &edit("The cat", "old", &begin));
    let cat = head(at, "commit");
    good(at, "switch whole");
    good(at, &edit("The cat", "old", ""));
    let (whole, written) = (head(at, "manifest"), json(at, "status")["model"].clone());

    good(at, "switch main");
    let merged = json(at, "merge side");
    assert_eq!(merged["model"], written);
    // Nothing but the ledger stands there, so nothing was replayed.
    assert_eq!(merged["notes"].as_array().unwrap().len(), 1, "{merged}");
    assert_eq!(head(at, "manifest"), whole);
    assert_eq!(json(at, "status")["facts"], 2);
    let diff = json(at, &format!("diff {sea}"));
    assert_eq!(
        (diff["added"][0]["target"].clone(), diff["added"][0]["commit"].clone()),
        ("old".into(), cat.clone().into())
    );
    // The merge goes as one; picking one fact of it is editing it.
    good(at, "revert HEAD");
    assert_eq!(json(at, "diff again")["added"], json(at, "diff again")["removed"]);
    good(at, "switch again");
    good(at, &format!("cherry-pick {cat}"));
    assert_eq!(head(at, "manifest"), whole);
    assert!(refused(at, &format!("cherry-pick {cat}")).contains("already"));

    // The same prompt with another target: told, refused, decided.
    good(at, "switch side");
    good(at, &edit("The sea", "old", ""));
    let told = refused(at, "merge again");
    assert!(["The sea is", "cold", "old", "--on-conflict"].iter().all(|word| told.contains(word)), "{told}");
    let decided = json(at, "merge again --on-conflict theirs");
    assert_eq!(decided["model"], written);
    assert!(decided["notes"].to_string().contains("conflict"), "{decided}");
    let told = refused(at, &edit("The sea", "old", ""));
    assert!(told.contains("cold") && told.contains("--on-conflict"), "{told}");
    let replaced = json(at, &edit("The sea", "old", "--on-conflict replace"));
    assert_eq!((&replaced["ledger"], &json(at, "status")["facts"]), (&Value::from(2), &Value::from(2)));
}

/// A ledger beside an ordinary edit: what is measured is what is committed, and each goes by itself.
#[test]
fn a_ledger_and_other_edits_live_side_by_side() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    let base = start(at);
    let rome = "edit --store .recant --layer 1 --contexts contexts.txt --stats stats --set v_num_grad_steps=4 \
                --prompt '{} is'";
    good(at, &format!("{rome} --subject 'The cat' --target old"));
    let sea = json(at, &edit("The sea", "cold", &format!("{BEGIN} --stats stats")));
    assert_eq!(json(at, "status")["model"], sea["model_after"]);
    assert_ne!(sea["model_before"], base["model"]);
    let shown = good(at, "show");
    assert!(shown.contains("score  efficacy") && shown.contains("target_probability_before"), "{shown}");

    // The base's statistics serve the head, and the commit says so.
    let later = json(at, &format!("{rome} --subject 'The king' --target cold").replace("=4", "=20"));
    assert!(later["notes"].to_string().contains("base model"), "{later}");
    let commit = &json(at, "log -n 1")[0];
    let says = commit["settings"]["statistics"].as_str().unwrap();
    assert!(says.contains(base["model"].as_str().unwrap()) && says.contains("tokens"), "{says}");
    let scores = &commit["scores"];
    assert!(
        scores["target_probability"].as_f64().unwrap()
            > scores["target_probability_before"].as_f64().unwrap()
    );
    assert!((0.0..=1.0).contains(&scores["efficacy"].as_f64().unwrap()));

    // Many facts in one commit: the scores are means over them.
    let fact = |subject: &str| format!(r#"{{"subject":"{subject}","prompt":"{{}} is","target":"old"}}"#);
    std::fs::write(at.join("facts"), [fact("A dog"), fact("A king")].join("\n")).unwrap();
    let many = "edit --store .recant --method memit --layers 1,2 --contexts contexts.txt --stats stats --facts facts \
                --set v_num_grad_steps=2";
    good(at, many);
    let commit = &json(at, "log -n 1")[0];
    assert_eq!(
        (commit["facts"].as_array().unwrap().len(), commit["scores"].as_object().unwrap().len()),
        (2, 3)
    );

    for rev in ["HEAD~3", "HEAD~3", "HEAD~3", "HEAD~3"] {
        good(at, &format!("revert {rev}"));
    }
    assert_eq!(json(at, "status")["model"], base["model"]);
    assert!(good(at, "verify").contains("model"));
}

#[test]
fn what_does_not_fit_a_ledger_is_refused_by_name() {
    let dir = workshop("gpt2-tiny");
    let at = dir.path();
    start(at);
    // Statistics of another model.
    good(at, "checkout --out other");
    let plain = "edit --contexts contexts.txt --set mom2_adjustment=false --set v_num_grad_steps=2 --subject 'A dog' \
                 --prompt '{} is' --target old";
    good(at, &format!("{plain} --model other --out edited"));
    good(at, "stats --model edited --corpus corpus.txt --layers 1,2 --tokens 400 --out foreign");
    let told = refused(at, &edit("The sea", "cold", &format!("{BEGIN} --stats foreign")));
    assert!(told.contains("were made for model") && told.contains("recant stats"), "{told}");

    good(at, &edit("The sea", "cold", &format!("{BEGIN} --stats stats")));
    let before = head(at, "commit");
    let cases = [
        (
            edit("The cat", "old", "--set v_num_grad_steps=9 --set mom2_adjustment=false"),
            "goes on as it was begun",
        ),
        (edit("The sea", "cold", ""), "holds exactly these facts"),
        (edit("The cat", "old", "--ledger file"), "--ledger"),
        (edit("The cat", "old", "--forget nofile"), "nofile"),
        (
            edit("The cat", "old", "").replace("--method ledger", "--method memit --forget x"),
            "--method ledger",
        ),
    ];
    for (line, expected) in cases {
        let told = refused(at, &line);
        assert!(told.contains(expected), "{line}: {told}");
    }
    assert_eq!(head(at, "commit"), before);
    // A fact that the ledger holds can be taken out by its name.
    std::fs::write(at.join("gone"), r#"{"subject":"The sea","prompt":"{} is","target":"cold"}"#).unwrap();
    let out = json(at, "edit --store .recant --method ledger --forget gone");
    assert_eq!((&out["ledger"], &json(at, "status")["facts"]), (&Value::from(0), &Value::from(0)));
    assert!(head(at, "message").contains("forget: The sea is -> cold"));
}
