//! What to try where a store or the system under it cannot.

use std::io::{self, ErrorKind};

use recant_app::StoreError;
use recant_remote::RemoteError;
use recant_store::Damage;

/// What to try about a store, where the message itself does not say.
pub(crate) fn hint(error: &StoreError) -> Option<&'static str> {
    Some(match error {
        StoreError::Open(recant_store::OpenError::NotAStore { .. }) => {
            "`recant store init` makes one; --store names the folder, and without it $RECANT_STORE or .recant is meant"
        }
        StoreError::Rev(recant_store::RevError::Unknown { .. }) => {
            "`recant log` lists commits, `recant branch` branches"
        }
        StoreError::Rev(recant_store::RevError::Empty)
        | StoreError::Commit(recant_store::CommitError::Empty) => "`recant store import` brings a model in",
        StoreError::Commit(recant_store::CommitError::Elsewhere { .. }) => {
            "`recant cherry-pick` takes edits from elsewhere"
        }
        StoreError::Names(recant_store::NamesError::Taken { .. }) => "--force moves it",
        StoreError::Import(
            recant_store::ImportError::Occupied { .. } | recant_store::ImportError::NoBranch,
        ) => "--branch names one",
        StoreError::Remotes(recant_store::RemotesError::Unknown { .. }) => {
            "`recant store remote add NAME REMOTE` gives a remote a name; a new folder is written ./FOLDER"
        }
        StoreError::Remotes(recant_store::RemotesError::Damaged { .. }) => {
            "`recant store fsck --repair` sets the file aside; the history is not touched by it"
        }
        StoreError::Remotes(recant_store::RemotesError::Taken { .. }) => {
            "`recant store remote remove NAME` takes the name away first"
        }
        StoreError::Commit(recant_store::CommitError::Conflicts { .. }) => {
            "pass --on-conflict ours, theirs or both"
        }
        StoreError::Commit(recant_store::CommitError::Moved { .. }) => {
            "run the same command again: it plans on the new head"
        }
        StoreError::Recipe { .. } => {
            "leave out --layer, --layers, --set, --contexts, --stats and --corpus: the ledger then goes on \
                 as it was begun"
        }
        StoreError::Object(recant_store::ReadError::Bundle { .. }) => {
            "`recant store fsck --repair` takes what is whole out of it and sets it aside"
        }
        StoreError::Checkout(recant_store::CheckoutError::Apart { .. }) => {
            "`recant store verify` lists every difference; an edit changes numbers alone, so somebody made this commit by hand"
        }
        _ => return damage_hint(error),
    })
}

/// What to do about damage in a store, whichever verb met it.
pub(crate) fn damage_hint(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    Some(match Damage::behind(error)? {
        Damage::Missing => "`recant store fsck` says what else is missing",
        Damage::Frame { .. } | Damage::Digest { .. } => "`recant store fsck --repair` sets the object aside",
        Damage::Generation { .. } => "`recant store fsck` says more",
        Damage::NoId { .. } => "`recant store fsck --repair` finds the newest operation",
        _ => return None,
    })
}

/// What to try about a remote.
pub(crate) fn remote_hint(error: &RemoteError) -> Option<&'static str> {
    match error {
        RemoteError::Place { .. } => Some(
            "credentials, region and endpoint come from the environment, for s3:// from AWS_ACCESS_KEY_ID, \
             AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT and, for an endpoint without TLS, \
             AWS_ALLOW_HTTP=true",
        ),
        RemoteError::Feature { .. } => Some(
            "a plain build reaches folders only: `cargo install --path crates/recant --features s3`, \
             gcs or azure brings the rest",
        ),
        RemoteError::Nothing { .. } => Some("`recant store push` makes one"),
        _ => None,
    }
}

/// What to do about what the system said, wherever it said it. Every command leaves what was there as it was then.
pub(crate) fn system_hint(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut at = Some(error);
    while let Some(error) = at {
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge) => {
                return Some(
                    "make room on that disk (or raise the limit on a file's size) and run the same command again; \
                     what was there is as it was",
                );
            }
            Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => {
                return Some(
                    "the folder must be writable by you; reading verbs, and checkout to another place, work without",
                );
            }
            Some(ErrorKind::ResourceBusy) => {
                return Some("a mount point cannot be replaced; name a folder inside it");
            }
            _ => at = error.source(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Through every layer of errors between a verb and the system.
    #[test]
    fn what_the_system_says_is_found_below() {
        for (kind, word) in
            [(ErrorKind::StorageFull, "make room"), (ErrorKind::ReadOnlyFilesystem, "writable")]
        {
            let source = recant_store::WriteError::Io { path: "objects/ab".into(), source: kind.into() };
            let commit = recant_store::TransactionError::from(source);
            let error = StoreError::from(recant_store::CommitError::from(commit));
            assert!(system_hint(&error).unwrap().contains(word), "{error}");
            assert!(error.to_string().contains("objects/ab"), "{error}");
        }
        let damage = Damage::NoId { text: "x".to_owned() };
        let head = recant_store::HeadError::Damaged { source: damage };
        let commit = recant_store::CommitError::from(recant_store::TransactionError::from(head));
        assert!(hint(&StoreError::from(commit)).unwrap().contains("--repair"));

        let other = recant_store::WriteError::Io { path: "x".into(), source: ErrorKind::NotFound.into() };
        let other = recant_store::CommitError::from(recant_store::TransactionError::from(other));
        assert_eq!(system_hint(&StoreError::from(other)), None);
    }
}
