//! Kinds of files that are written here.

use recant_files::FileKind;
use recant_records::seal;

/// An edit's bytes.
pub(crate) const PATCH: FileKind =
    FileKind { name: "patch", recognises: |head| seal::begins(head, b"RCNTPAT") };

/// A method's intermediate quantities.
pub(crate) const DUMP: FileKind =
    FileKind { name: "dump", recognises: |head| seal::sheet_note(head, "loss_columns").is_some() };

/// How far an evaluation has come.
pub(crate) const JOURNAL: FileKind = FileKind {
    name: "record of a run that goes on",
    recognises: |head| seal::begins(head, b"recant-resume-") || head.starts_with(br#"{"method":"#),
};

/// What became of facts, as JSON lines.
pub const VERDICTS: FileKind =
    FileKind { name: "verdicts", recognises: |head| head.starts_with(br#"{"fact":{"#) };

#[cfg(test)]
mod tests {
    use super::DUMP;

    /// Only the head of a file is read to know its kind.
    #[test]
    fn a_dump_is_known_by_its_head() {
        let head = |key: &str| {
            let header = format!(
                r#"{{"__metadata__":{{"{key}":"nll"}},"losses":{{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}}}"#
            );
            [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0]].concat()
        };
        assert!((DUMP.recognises)(&head("loss_columns")));
        assert!(!(DUMP.recognises)(&head("format")));
    }
}
