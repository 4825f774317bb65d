//! Kinds of files that the binary alone writes.

use recant_files::FileKind;

/// A page of the manual.
pub(super) const MAN_PAGE: FileKind =
    FileKind { name: "page of recant man", recognises: |head| head.starts_with(super::man::MARK.as_bytes()) };
