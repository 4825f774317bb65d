//! What a fact says, apart from who keeps it: one answer to "is this the same fact" and "do these contradict".

/// Whether a character is a blank that means nothing at the end of a text: any white space but a line break, which
/// chat templates end with.
#[must_use]
pub fn is_blank(c: char) -> bool {
    c.is_whitespace() && !matches!(c, '\n' | '\r')
}

/// The words of a fact, wherever they are kept. Blanks at the ends do not count: "Ada speaks " and "Ada speaks" are
/// the same prompt.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    /// Who or what the fact is about.
    pub subject: &'a str,
    /// A sentence beginning with one `{}` where the subject goes.
    pub prompt: &'a str,
    /// What the model shall say next.
    pub target: &'a str,
}

impl Statement<'_> {
    /// The prompt with the subject in its slot, word for word.
    #[must_use]
    pub fn text(&self) -> String {
        self.prompt.replacen("{}", self.subject, 1)
    }

    /// What a fact is found by: subject and prompt without blanks at their ends.
    #[must_use]
    pub fn question(&self) -> (String, String) {
        let subject = self.subject.trim();
        (subject.to_owned(), self.prompt.replacen("{}", subject, 1).trim_matches(is_blank).to_owned())
    }

    /// Whether both are about the same subject and continue the same prompt.
    #[must_use]
    pub fn same_question(&self, other: &Statement<'_>) -> bool {
        // Most facts differ in their subjects; only the others are written out.
        self.subject.trim() == other.subject.trim() && self.question() == other.question()
    }

    /// Whether both say the same.
    #[must_use]
    pub fn same(&self, other: &Statement<'_>) -> bool {
        self.target.trim() == other.target.trim() && self.same_question(other)
    }

    /// Whether both continue the same prompt, with different targets.
    #[must_use]
    pub fn contradicts(&self, other: &Statement<'_>) -> bool {
        self.target.trim() != other.target.trim() && self.same_question(other)
    }
}

/// What becomes of a fact that contradicts another one ([`Statement::contradicts`]): where facts come to a ledger, and
/// where two histories are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// Nothing is changed, and the contradiction reported.
    #[default]
    Refuse,
    /// What is there stays, and what comes is left out.
    Ours,
    /// What comes takes the place of what is there.
    Theirs,
    /// Both are kept: in a ledger they meet in the middle, in a history the later one has the last word.
    Both,
}

#[cfg(test)]
mod tests {
    use super::Statement;

    fn said<'a>(subject: &'a str, prompt: &'a str, target: &'a str) -> Statement<'a> {
        Statement { subject, prompt, target }
    }

    #[test]
    fn blanks_at_the_ends_make_no_other_fact() {
        let one = said("Ada", "{} speaks", "Veltish");
        for (other, same, contradicts) in [
            (said("Ada", "{} speaks", "Veltish"), true, false),
            (said(" Ada", " {} speaks ", "Veltish "), true, false),
            (said("Ada", "{} speaks ", "Tashic"), false, true),
            (said("Bo", "{} speaks", "Tashic"), false, false),
            (said("Ada", "{} speaks only", "Tashic"), false, false),
        ] {
            assert_eq!((one.same(&other), one.contradicts(&other)), (same, contradicts), "{other:?}");
        }
        // The same text about two subjects is two questions.
        assert!(!said("Ada", "{} and Bo speak", "x").contradicts(&said("Bo", "Ada and {} speak", "y")));
    }
}
