use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use super::neutral::{LEAD_INS, neutral_texts};
use super::vocabulary::{RELATIONS, contains_object, fill, objects};
use super::*;

/// Several seeds, since the rules must hold for a world and not for one lucky draw.
static WORLDS: LazyLock<Vec<World>> = LazyLock::new(|| [1, 2, 3, u64::MAX].map(generate).into());

fn subjects(world: &World) -> Vec<&str> {
    let mut names: Vec<&str> = world.facts.iter().map(|fact| fact.subject.as_str()).collect();
    names.dedup();
    names
}

/// The fact that each training prompt asks for.
fn by_prompt(world: &World) -> BTreeMap<&str, &WorldFact> {
    let mut facts = BTreeMap::new();
    for fact in &world.facts {
        facts.extend(fact.train_prompts.iter().map(|prompt| (prompt.as_str(), fact)));
    }
    facts
}

/// FNV-1a over the lines, each with its line feed.
fn checksum(lines: &[String]) -> u64 {
    let bytes = lines.iter().flat_map(|line| line.bytes().chain([b'\n']));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The words of a text, without case and punctuation.
fn words(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphabetic()).map(str::to_ascii_lowercase).collect()
}

#[test]
fn one_seed_gives_one_world() {
    for world in WORLDS.iter() {
        assert_eq!(*world, generate(world.seed));
    }
    assert_ne!(WORLDS[0].facts, WORLDS[1].facts);
    assert_ne!(WORLDS[0].corpus, WORLDS[1].corpus);
}

/// A trained demo model belongs to its world: whoever changes the world on purpose changes these numbers too.
#[test]
fn the_world_of_seed_1_is_frozen() {
    let world = &WORLDS[0];
    let json = |case| serde_json::to_string(case).expect("a case is plain data");
    let cases: Vec<String> = world.cases.iter().map(json).collect();
    let found = format!("{:016x} {:016x}", checksum(&world.corpus), checksum(&cases));
    assert_eq!(found, "3bd18a34bc1d94af 7eac674788b5e3df");
}

#[test]
fn the_world_has_its_size() {
    for world in WORLDS.iter() {
        assert_eq!(subjects(world).len(), 548);
        assert_eq!(world.facts.len(), 3 * 548);
        assert_eq!(world.cases.len(), 300);
        assert_eq!(world.retained.len(), 300);
        assert!((8_000..=10_000).contains(&world.corpus.len()), "{} lines", world.corpus.len());
        let bytes: usize = world.corpus.iter().map(|line| line.len() + 1).sum();
        assert!((450_000..=650_000).contains(&bytes), "{bytes} bytes");
    }
}

#[test]
fn each_phrasing_has_one_slot_with_text_behind_it() {
    for relation in &RELATIONS {
        for phrasing in relation.phrasings {
            assert_eq!(phrasing.matches("{}").count(), 1, "{phrasing}");
            assert!(!phrasing.ends_with("{}") && !phrasing.ends_with(' '), "{phrasing}");
            assert!(!phrasing.starts_with("{} is a"), "{phrasing}");
        }
        let starts = relation.phrasings.iter().filter(|phrasing| phrasing.starts_with("{}")).count();
        assert!((3..=4).contains(&starts), "{} starts with its subject {starts} times", relation.id);
    }
}

#[test]
fn no_phrasing_gives_its_object_away() {
    for relation in &RELATIONS {
        for phrasing in relation.phrasings {
            assert!(!phrasing.ends_with(" an"), "{phrasing}");
            let vowel = |object: &str| object.to_ascii_lowercase().starts_with(['a', 'e', 'i', 'o', 'u']);
            assert!(
                !phrasing.ends_with(" a") || !relation.objects.iter().any(|object| vowel(object)),
                "{phrasing}"
            );
        }
    }
}

#[test]
fn no_phrasing_contains_another() {
    let all: Vec<String> =
        RELATIONS.iter().flat_map(|r| r.phrasings).map(|phrasing| fill(phrasing, "Someone")).collect();
    for (index, one) in all.iter().enumerate() {
        assert!(all.iter().enumerate().all(|(at, other)| at == index || !other.contains(one)), "{one}");
    }
}

#[test]
fn objects_are_shared_by_subjects_but_not_by_relations() {
    assert_eq!(objects().collect::<BTreeSet<_>>().len(), objects().count());
    for relation in &RELATIONS {
        assert!((8..=14).contains(&relation.objects.len()), "{}", relation.id);
    }
    for world in WORLDS.iter() {
        let mut holders: BTreeMap<(&str, &str), usize> = BTreeMap::new();
        for fact in &world.facts {
            *holders.entry((&fact.relation_id, &fact.object)).or_default() += 1;
        }
        assert_eq!(holders.len(), objects().count());
        assert!(holders.values().all(|&count| count >= 8), "{holders:?}");
    }
}

#[test]
fn names_are_apart_from_each_other_and_from_the_objects() {
    for world in WORLDS.iter() {
        let names = subjects(world);
        for (index, name) in names.iter().enumerate() {
            assert!(name.is_ascii());
            assert!(!contains_object(name), "{name}");
            assert!(
                names.iter().enumerate().all(|(at, other)| at == index || !other.contains(name)),
                "{name}"
            );
        }
    }
}

#[test]
fn neutral_text_names_no_subject_and_no_object() {
    let objects: BTreeSet<String> = objects().map(str::to_ascii_lowercase).collect();
    let phrasings = RELATIONS.iter().flat_map(|relation| relation.phrasings);
    for text in neutral_texts().chain(phrasings) {
        assert!(words(text).is_disjoint(&objects), "{text}");
        for world in WORLDS.iter() {
            assert!(subjects(world).iter().all(|name| !text.contains(name)), "{text}");
        }
    }
}

#[test]
fn lead_ins_are_short_sentences() {
    for text in LEAD_INS {
        assert!((3..=12).contains(&text.split(' ').count()) && text.ends_with('.'), "{text}");
    }
}

#[test]
fn prompts_name_their_subject_once() {
    for world in WORLDS.iter() {
        for fact in &world.facts {
            assert_eq!((fact.train_prompts.len(), fact.held_out_prompts.len()), (4, 1));
            for prompt in fact.train_prompts.iter().chain(&fact.held_out_prompts) {
                assert_eq!(prompt.matches(&fact.subject).count(), 1, "{prompt}");
            }
        }
    }
}

#[test]
fn training_shows_the_training_prompts_and_never_a_held_out_one() {
    for world in WORLDS.iter() {
        // Scanning only the lines that hold the subject's own word spares five billion comparisons.
        let mut lines: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for line in &world.corpus {
            for word in words(line) {
                lines.entry(word).or_default().push(line);
            }
        }
        for fact in &world.facts {
            let own_word = fact.subject.rsplit(' ').next().unwrap_or_default().to_ascii_lowercase();
            let shown = |text: &str| lines[&own_word].iter().any(|line| line.contains(text));
            for prompt in &fact.train_prompts {
                assert!(shown(&format!("{prompt} {}.", fact.object)), "{prompt}");
            }
            assert!(!fact.held_out_prompts.iter().any(|prompt| shown(prompt)), "{:?}", fact.held_out_prompts);
        }
    }
}

#[test]
fn every_phrasing_is_trained_on_with_four_fifths_of_the_subjects() {
    for world in WORLDS.iter() {
        for relation in &RELATIONS {
            let facts: Vec<&WorldFact> =
                world.facts.iter().filter(|fact| fact.relation_id == relation.id).collect();
            for phrasing in relation.phrasings {
                let held_out =
                    |fact: &&&WorldFact| fact.held_out_prompts.contains(&fill(phrasing, &fact.subject));
                let percent = 100 * facts.iter().filter(held_out).count() / facts.len();
                assert!((18..=22).contains(&percent), "{phrasing}: held out for {percent}%");
            }
        }
    }
}

#[test]
fn a_tenth_of_the_lines_holds_two_facts() {
    for world in WORLDS.iter() {
        let stated: BTreeSet<String> = world
            .facts
            .iter()
            .flat_map(|fact| fact.train_prompts.iter().map(|prompt| format!("{prompt} {}.", fact.object)))
            .collect();
        let is_pair = |line: &&String| {
            line.split_once(". ").is_some_and(|(first, second)| {
                stated.contains(&format!("{first}.")) && stated.contains(second)
            })
        };
        let percent = 100 * world.corpus.iter().filter(is_pair).count() / world.corpus.len();
        assert!((8..=11).contains(&percent), "{percent}%");
    }
}

#[test]
fn cases_ask_for_another_object_of_a_known_fact() {
    for world in WORLDS.iter() {
        let by_prompt = by_prompt(world);
        let mut edited = BTreeSet::new();
        for case in &world.cases {
            let rewrite = &case.requested_rewrite;
            let fact = by_prompt[fill(&rewrite.prompt, &rewrite.subject).as_str()];
            assert_eq!((&fact.subject, &fact.relation_id), (&rewrite.subject, &rewrite.relation_id));
            assert_eq!(fact.object, rewrite.target_true.text);
            assert_ne!(rewrite.target_new, rewrite.target_true);
            assert!(world.facts.iter().any(|other| {
                other.relation_id == rewrite.relation_id && other.object == rewrite.target_new.text
            }));
            assert_eq!(case.paraphrase_prompts[0], fact.held_out_prompts[0]);
            assert!(case.paraphrase_prompts[1].ends_with(&format!(". {}", fact.held_out_prompts[0])));
            assert!((3..=5).contains(&case.generation_prompts.len()));
            assert!(case.generation_prompts.iter().all(|prompt| prompt.contains(&rewrite.subject)));
            assert!(edited.insert(&rewrite.subject), "{} is edited twice", rewrite.subject);
        }
        for relation in &RELATIONS {
            let count =
                world.cases.iter().filter(|case| case.requested_rewrite.relation_id == relation.id).count();
            assert_eq!(count, 30, "{}", relation.id);
        }
    }
}

#[test]
fn neighbours_share_the_object_and_not_the_subject() {
    for world in WORLDS.iter() {
        let by_prompt = by_prompt(world);
        for case in &world.cases {
            let rewrite = &case.requested_rewrite;
            let groups = [
                (&case.neighborhood_prompts, &rewrite.target_true.text),
                (&case.attribute_prompts, &rewrite.target_new.text),
            ];
            for (prompts, object) in groups {
                assert!((5..=10).contains(&prompts.len()), "{} prompts", prompts.len());
                for prompt in prompts {
                    let fact = by_prompt[prompt.as_str()];
                    assert_eq!((&fact.relation_id, &fact.object), (&rewrite.relation_id, object));
                    assert!(!prompt.contains(&rewrite.subject), "{prompt}");
                }
            }
        }
    }
}

#[test]
fn no_case_mentions_a_retained_subject() {
    for world in WORLDS.iter() {
        let by_prompt = by_prompt(world);
        let mut mentioned = BTreeSet::new();
        for case in &world.cases {
            mentioned.insert(case.requested_rewrite.subject.as_str());
            let others = case.neighborhood_prompts.iter().chain(&case.attribute_prompts);
            mentioned.extend(others.map(|prompt| by_prompt[prompt.as_str()].subject.as_str()));
        }
        for retained in &world.retained {
            let fact = by_prompt[retained.prompt.as_str()];
            assert_eq!(fact.object, retained.answer);
            assert!(!mentioned.contains(fact.subject.as_str()), "{}", fact.subject);
        }
    }
}

#[test]
fn a_case_is_written_in_the_schema_of_counterfact() {
    let case = &WORLDS[0].cases[0];
    let json = serde_json::to_value(case).expect("a case is plain data");
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().map(|object| object.keys().cloned().collect()).unwrap_or_default()
    };
    assert_eq!(
        keys(&json),
        [
            "case_id",
            "pararel_idx",
            "requested_rewrite",
            "paraphrase_prompts",
            "neighborhood_prompts",
            "attribute_prompts",
            "generation_prompts",
        ]
    );
    let rewrite = &json["requested_rewrite"];
    assert_eq!(keys(rewrite), ["prompt", "relation_id", "target_new", "target_true", "subject"]);
    assert_eq!(keys(&rewrite["target_new"]), ["str", "id"]);
    let read: Case = serde_json::from_value(json).expect("it was just written");
    assert_eq!(read, *case);
}
