//! The name of a model on a hub.

use std::fmt;

/// `owner/name`, with a file for models that are one, and a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubName {
    owner: String,
    name: String,
    file: Option<String>,
    revision: Option<String>,
}

impl HubName {
    /// Reads `owner/name`, `owner/name/file.gguf`, either with `@revision`. `None` for what cannot be such a name, as
    /// most paths.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (place, revision) = match text.split_once('@') {
            Some((place, revision)) => (place, Some(revision)),
            None => (text, None),
        };
        if revision.is_some_and(|revision| !revision.split('/').all(is_plain)) {
            return None;
        }
        let mut parts = place.split('/');
        let (owner, name) = (parts.next()?, parts.next()?);
        let file: Vec<&str> = parts.collect();
        let is_file = file.last().is_some_and(|last| last.ends_with(".gguf"));
        if !file.is_empty() && !is_file || ![owner, name].iter().chain(&file).all(|part| is_plain(part)) {
            return None;
        }
        Some(Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            file: is_file.then(|| file.join("/")),
            revision: revision.map(str::to_owned),
        })
    }

    /// Who published it.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// What it is called there.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that is the model, where it is one.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// A branch, a tag or a commit.
    #[must_use]
    pub fn revision(&self) -> &str {
        self.revision.as_deref().unwrap_or("main")
    }

    /// Whether the revision is a commit's own name.
    #[must_use]
    pub fn is_pinned(&self) -> bool {
        is_commit(self.revision())
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)?;
        if let Some(file) = &self.file {
            write!(f, "/{file}")?;
        }
        match &self.revision {
            Some(revision) => write!(f, "@{revision}"),
            None => Ok(()),
        }
    }
}

/// Whether a part of a name stays where it is put: no way up, no hidden file, no separator.
pub(crate) fn is_plain(part: &str) -> bool {
    !part.is_empty()
        && !part.starts_with('.')
        && part.len() <= 200
        && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// Whether a revision is the full name of a commit.
pub(crate) fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        for name in [
            "org/name",
            "org/name@v1.0",
            "Org-1/na.me_2@refs/pr/1",
            "org/name/q4.gguf",
            "org/name/a/q4.gguf@main",
        ] {
            assert_eq!(HubName::parse(name).map(|name| name.to_string()).as_deref(), Some(name));
        }
        let paths = [
            "model",
            "/org/name",
            "./org/name",
            "../name",
            "org/..",
            "org/name/",
            "a/b/c",
            "org//name",
            "org/name@",
        ];
        for path in paths.into_iter().chain([
            "org/name@../x",
            "org/na me",
            "~/model",
            "org/.name",
            ".hidden/name",
            "",
        ]) {
            assert_eq!(HubName::parse(path), None, "{path}");
        }
    }

    #[test]
    fn a_commit_is_pinned() {
        let pinned = HubName::parse("a/b@0123456789abcdef0123456789abcdef01234567");
        assert!(pinned.is_some_and(|name| name.is_pinned()));
        assert!(!HubName::parse("a/b@main").is_some_and(|name| name.is_pinned()));
    }
}
