//! The scoped way to hold an edited model.

use recant_core::{Blobs, WeightPatch};
use recant_model::{Model, PatchError};

/// Puts the former model back when dropped, on the way out of a panic too.
struct Restore<'m> {
    place: &'m mut Model,
    former: Model,
}

impl Drop for Restore<'_> {
    fn drop(&mut self) {
        // The former model holds the former tensors themselves, so this restores bytes, not values.
        std::mem::swap(self.place, &mut self.former);
    }
}

/// Runs `body` with `model` edited by `patch`; afterwards `model` holds exactly the tensors it held before,
/// also when `body` returns early or panics. Costs one copy of each touched matrix.
///
/// A closure rather than a guard, because a guard can be leaked (`std::mem::forget`) and would leave the
/// edit in place behind the owner's back.
///
/// # Errors
/// [`PatchError`] when the patch does not fit; `body` is not run then.
pub fn scoped<R>(
    model: &mut Model,
    patch: &WeightPatch,
    body: impl FnOnce(&Model) -> R,
) -> Result<R, PatchError> {
    let (edited, _) = model.apply(patch, &Blobs::new())?;
    let former = std::mem::replace(model, edited);
    let scope = Restore { place: model, former };
    Ok(body(scope.place))
}
