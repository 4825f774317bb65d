//! Kinds of files that only the command line writes.

use recant_files::FileKind;
use recant_records::seal;
use safetensors::SafeTensors;

/// An edit's bytes.
pub(super) const PATCH: FileKind =
    FileKind { name: "patch", recognises: |head| seal::begins(head, b"RCNTPAT") };

/// A method's intermediate quantities.
pub(super) const DUMP: FileKind = FileKind {
    name: "dump",
    recognises: |head| {
        let header = SafeTensors::read_metadata(head);
        header.is_ok_and(|(_, header)| {
            header.metadata().as_ref().is_some_and(|metadata| metadata.contains_key("loss_columns"))
        })
    },
};

/// How far an evaluation has come.
pub(super) const JOURNAL: FileKind = FileKind {
    name: "record of --resume",
    recognises: |head| seal::begins(head, b"recant-resume-") || head.starts_with(br#"{"method":"#),
};

/// Half of a key pair, which is never replaced.
pub(super) const KEY: FileKind = FileKind { name: "key", recognises: |_| false };

/// What became of facts, as JSON lines.
pub(super) const VERDICTS: FileKind =
    FileKind { name: "verdicts", recognises: |head| head.starts_with(br#"{"fact":{"#) };
