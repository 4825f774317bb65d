//! A model that is asked, edited, compared with its base and taken back.

use std::ops::ControlFlow;
use std::time::Instant;

use recant_core::ModelDigest;
use recant_edit::{EditError, Fact, Lifelong};
use recant_eval::{Asked, ScoreError, Verdict, verdicts};
use recant_methods::{MethodSpec, lifelong};
use recant_model::{Answer, AskError, Model, Strategy};

use crate::observer::{Observer, Watching};
use crate::resources::{MethodSources, ResourceError, Resources};

/// What cannot be done in a dialogue; it then stands as before.
#[derive(Debug, thiserror::Error)]
pub enum DialogueError {
    /// What the method is made from cannot be had.
    #[error(transparent)]
    Resources(#[from] ResourceError),
    /// An edit cannot be made or taken back.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// An edit cannot be judged.
    #[error(transparent)]
    Score(#[from] ScoreError),
    /// A prompt cannot be asked.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// There is no edit to take back.
    #[error("there is no edit to take back")]
    NothingToUndo,
    /// Taking an edit back gave another model than the one before it.
    #[error(
        "after the undo the model is {found}, and before the edit it was {expected}; this is a defect of recant"
    )]
    OtherModel {
        /// Before the edit.
        expected: ModelDigest,
        /// After it was taken back.
        found: ModelDigest,
    },
}

/// An edit of a dialogue.
#[derive(Debug, Clone)]
pub struct Held {
    /// The fact.
    pub fact: Fact,
    /// What became of it.
    pub verdict: Verdict,
    /// What the method says of the edit.
    pub notes: Vec<String>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The model before it.
    pub before: ModelDigest,
}

/// What a model says to a prompt.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The most probable next tokens, the best first.
    pub answers: Vec<Answer>,
    /// What it writes, greedily.
    pub text: String,
}

/// A base model, the edits on it so far, and the model that they give. The base is never changed.
pub struct Dialogue {
    base: Model,
    method: String,
    sources: MethodSources,
    /// Begun by the first edit: what a method needs may take a while, and a dialogue may be only about questions.
    learner: Option<Box<dyn Lifelong>>,
    held: Vec<Held>,
}

impl Dialogue {
    /// A dialogue without edits, by a method that edits weights: that one was taken back is seen by their digest.
    ///
    /// # Errors
    /// [`EditError::Setting`] when there is no such method.
    pub fn new(base: Model, method: &str, sources: MethodSources) -> Result<Self, EditError> {
        let spec = MethodSpec::find(method)?;
        if spec.is_memory() {
            return Err(EditError::Setting {
                key: "method".to_owned(),
                value: spec.name.to_owned(),
                reason: "it is a memory beside the weights, and a dialogue edits weights".to_owned(),
            });
        }
        let method = spec.name.to_owned();
        Ok(Self { base, method, sources, learner: None, held: Vec::new() })
    }

    /// The model before all edits.
    #[must_use]
    pub fn base(&self) -> &Model {
        &self.base
    }

    /// The model after all edits.
    #[must_use]
    pub fn model(&self) -> &Model {
        self.learner.as_ref().map_or(&self.base, |learner| learner.model())
    }

    /// The edits, the first one first.
    #[must_use]
    pub fn edits(&self) -> &[Held] {
        &self.held
    }

    /// Gathers what the method needs, which may take minutes, unless that was done before.
    ///
    /// # Errors
    /// [`DialogueError::Resources`], [`DialogueError::Edit`].
    pub fn prepare(&mut self, observer: &dyn Observer) -> Result<(), DialogueError> {
        if self.learner.is_none() {
            self.learner = Some(self.begun(observer)?);
        }
        Ok(())
    }

    /// Edits one fact into the model and judges it. Prepares what was not prepared.
    ///
    /// # Errors
    /// [`DialogueError`]; no edit was made.
    pub fn edit(&mut self, fact: Fact, observer: &dyn Observer) -> Result<&Held, DialogueError> {
        self.prepare(observer)?;
        let Some(learner) = &mut self.learner else { unreachable!("it was prepared") };
        let started = Instant::now();
        let (before, steps) = (learner.model().clone(), learner.steps());
        let facts = [fact];
        let learned = learner.learn_watched(&facts, &Watching(observer));
        observer.idle();
        let learned = learned.map_err(DialogueError::from).and_then(|notes| {
            let seconds = started.elapsed().as_secs_f64();
            Ok((notes, seconds, verdicts(&Asked::of(&before, &facts)?, learner.model(), &facts)?))
        });
        let (notes, seconds, mut verdicts) = match learned {
            Ok(learned) => learned,
            Err(error) => {
                learner.roll_back(steps)?;
                return Err(error);
            }
        };
        let [fact] = facts;
        // One fact has one verdict.
        let verdict = verdicts.remove(0);
        self.held.push(Held { fact, verdict, notes, seconds, before: before.digest() });
        Ok(&self.held[self.held.len() - 1])
    }

    /// Takes the last edit back; the model is then the one before it, bit for bit.
    ///
    /// # Errors
    /// [`DialogueError::NothingToUndo`], [`DialogueError::OtherModel`].
    pub fn undo(&mut self) -> Result<Held, DialogueError> {
        let Some(learner) = self.learner.as_mut().filter(|learner| learner.steps() > 0) else {
            return Err(DialogueError::NothingToUndo);
        };
        learner.roll_back(learner.steps() - 1)?;
        let held = self.held.pop().ok_or(DialogueError::NothingToUndo)?;
        let found = learner.model().digest();
        if found != held.before {
            return Err(DialogueError::OtherModel { expected: held.before, found });
        }
        Ok(held)
    }

    /// What the model writes, greedily, in up to `max_new` tokens; `told` hears each piece of it as it comes, and may
    /// break off there.
    ///
    /// # Errors
    /// [`DialogueError::Ask`].
    pub fn say(
        &self,
        prompt: &str,
        max_new: usize,
        told: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<String, DialogueError> {
        Ok(self.model().generate_told(prompt, max_new, Strategy::Greedy, told)?.text)
    }

    /// What the base and the model after all edits say to a prompt.
    ///
    /// # Errors
    /// [`DialogueError::Ask`].
    pub fn compare(
        &self,
        prompt: &str,
        top: usize,
        max_new: usize,
        observer: &dyn Observer,
    ) -> Result<[Reply; 2], DialogueError> {
        let reply = |model: &Model| -> Result<Reply, AskError> {
            let goes_on = &mut |_: &str| Watching(observer).goes_on();
            let text = model.generate_told(prompt, max_new, Strategy::Greedy, goes_on)?.text;
            Ok(Reply { answers: model.answers(prompt, top)?, text })
        };
        Ok([reply(&self.base)?, reply(self.model())?])
    }

    fn begun(&self, observer: &dyn Observer) -> Result<Box<dyn Lifelong>, DialogueError> {
        let methods = std::slice::from_ref(&self.method);
        let resources = Resources::gather(&self.sources, methods, &self.base, observer)?;
        for note in resources.notes(&self.base) {
            observer.note(&note);
        }
        Ok(lifelong(&self.method, &resources.inputs(&self.method)?, self.base.clone())?)
    }
}
