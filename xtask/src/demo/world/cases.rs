//! The edit cases, and the facts that no case touches.

use super::dice::Dice;
use super::facts::Fact;
use super::names::Kind;
use super::neutral::lead_in;
use super::vocabulary::{RELATIONS, fill};
use super::{Case, RequestedRewrite, Retained, Target};

/// Cases of each relation.
const CASES_PER_RELATION: usize = 30;
/// Prompts a case has at most about subjects that must not change, and as many about subjects with the new object.
const PROMPTS_PER_GROUP: usize = 10;
/// Facts that share an object and stay open to cases: the edited one and a full group of neighbours.
const OPEN_PER_OBJECT: usize = PROMPTS_PER_GROUP + 1;

/// Draws the cases and the retained facts.
///
/// The retained subjects are set aside before any case is drawn, so no prompt of any case is about them.
pub(super) fn draw(facts: &[Fact<'_>], dice: &mut Dice) -> (Vec<Case>, Vec<Retained>) {
    let set_aside = set_aside_subjects(facts, dice);
    let (retained, open): (Vec<Fact<'_>>, Vec<Fact<'_>>) =
        facts.iter().partition(|fact| set_aside.contains(&fact.subject_index));
    let edited = choose_edited(&open, dice);
    let cases = edited.iter().enumerate().map(|(id, fact)| write_case(id, fact, &open, dice)).collect();
    let retained = retained
        .iter()
        .map(|fact| Retained { prompt: fact.any_training_prompt(dice), answer: fact.object().to_owned() })
        .collect();
    (cases, retained)
}

/// How many subjects of a kind are set aside; with three facts each, they make 300 retained facts.
fn set_aside_count(kind: Kind) -> usize {
    match kind {
        Kind::Person => 70,
        Kind::Town | Kind::Company => 15,
    }
}

/// Chooses the subjects that no case may mention, none of them thinning out an object more than needed.
fn set_aside_subjects(facts: &[Fact<'_>], dice: &mut Dice) -> Vec<usize> {
    let mut chosen = Vec::new();
    for kind in Kind::ALL {
        let mut candidates: Vec<usize> =
            facts.iter().filter(|fact| fact.subject.kind == kind).map(|fact| fact.subject_index).collect();
        candidates.dedup();
        dice.shuffle(&mut candidates);
        let wanted = chosen.len() + set_aside_count(kind);
        // Should the full floor leave too few subjects, a lower one costs some cases a neighbour.
        for floor in (0..=OPEN_PER_OBJECT).rev() {
            for &candidate in &candidates {
                if chosen.len() < wanted
                    && !chosen.contains(&candidate)
                    && spares(facts, &chosen, candidate, floor)
                {
                    chosen.push(candidate);
                }
            }
        }
    }
    chosen
}

/// Whether setting `candidate` aside too leaves `floor` open facts to each of its objects.
fn spares(facts: &[Fact<'_>], set_aside: &[usize], candidate: usize, floor: usize) -> bool {
    let is_open =
        |fact: &Fact<'_>| fact.subject_index != candidate && !set_aside.contains(&fact.subject_index);
    facts
        .iter()
        .filter(|fact| fact.subject_index == candidate)
        .all(|own| facts.iter().filter(|fact| fact.shares_object_with(own) && is_open(fact)).count() >= floor)
}

/// Chooses the facts to edit: the relations in turn, their objects in turn, no subject twice.
///
/// Taking turns keeps any leading part of the cases balanced, so a run on the first fifty is a fair sample.
/// Distinct subjects let a run apply many cases to one model without one overwriting another.
fn choose_edited<'world>(open: &[Fact<'world>], dice: &mut Dice) -> Vec<Fact<'world>> {
    let mut order: Vec<&Fact<'world>> = open.iter().collect();
    dice.shuffle(&mut order);
    let mut edited: Vec<Fact<'world>> = Vec::new();
    for turn in 0..CASES_PER_RELATION {
        for (relation_index, relation) in RELATIONS.iter().enumerate() {
            let object_index = turn % relation.objects.len();
            let free = |fact: &&&Fact<'world>| {
                fact.relation_index == relation_index
                    && edited.iter().all(|other| other.subject_index != fact.subject_index)
            };
            let preferred = order.iter().filter(free).find(|fact| fact.object_index == object_index);
            if let Some(fact) = preferred.or_else(|| order.iter().find(free)) {
                edited.push(**fact);
            }
        }
    }
    edited
}

fn write_case(case_id: usize, fact: &Fact<'_>, open: &[Fact<'_>], dice: &mut Dice) -> Case {
    let relation = fact.relation;
    let new_index = other_object(fact, dice);
    let target =
        |index: usize| Target { text: relation.objects[index].to_owned(), id: relation.object_id(index) };
    let held_out = fact.held_out_prompt();
    Case {
        case_id,
        pararel_idx: case_id,
        requested_rewrite: RequestedRewrite {
            prompt: fact.any_training_template(dice).to_owned(),
            relation_id: relation.id.to_owned(),
            target_new: target(new_index),
            target_true: target(fact.object_index),
            subject: fact.subject.name.clone(),
        },
        paraphrase_prompts: vec![held_out.clone(), format!("{} {held_out}", lead_in(dice))],
        neighborhood_prompts: prompts_about_others(fact, fact.object_index, open, dice),
        attribute_prompts: prompts_about_others(fact, new_index, open, dice),
        generation_prompts: open_prompts(fact, open, dice),
    }
}

/// An object of the fact's relation other than its own.
fn other_object(fact: &Fact<'_>, dice: &mut Dice) -> usize {
    let count = fact.relation.objects.len();
    (fact.object_index + 1 + dice.below(count - 1)) % count
}

/// Training prompts of other subjects whose object in this relation is the one at `object_index`.
fn prompts_about_others(
    fact: &Fact<'_>,
    object_index: usize,
    open: &[Fact<'_>],
    dice: &mut Dice,
) -> Vec<String> {
    let wanted = Fact { object_index, ..*fact };
    let mut others: Vec<&Fact<'_>> = open
        .iter()
        .filter(|other| other.shares_object_with(&wanted) && other.subject_index != fact.subject_index)
        .collect();
    dice.shuffle(&mut others);
    others.into_iter().take(PROMPTS_PER_GROUP).map(|other| other.any_training_prompt(dice)).collect()
}

/// Prompts to let the model write on about the subject: open ones, and its other relations.
fn open_prompts(fact: &Fact<'_>, open: &[Fact<'_>], dice: &mut Dice) -> Vec<String> {
    const OPEN: [&str; 3] = ["{} is known for", "{} is a", "Many people say that {}"];
    let mut prompts: Vec<String> = OPEN.iter().map(|template| fill(template, &fact.subject.name)).collect();
    prompts.extend(
        open.iter()
            .filter(|other| {
                other.subject_index == fact.subject_index && other.relation_index != fact.relation_index
            })
            .map(|other| other.any_training_prompt(dice)),
    );
    prompts
}
