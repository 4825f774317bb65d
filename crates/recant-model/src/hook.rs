//! The three verbs of an activation hook: observe, replace, stop.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use recant_core::Site;

/// What a hook answers at a site.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one a visit, and taken apart at once")]
pub enum Flow {
    /// Go on with this tensor: the one that was shown (observe) or another one of its shape (replace).
    Continue(Tensor<3>),
    /// Do not compute what comes after this site.
    Stop,
}

/// Sees activations as a forward pass makes them. A hook lives as long as the call it was passed to.
///
/// Sites come in the order of [`Site`]; each is visited at most once per forward pass.
pub trait Hook {
    /// Whether the hook wants to see this site. Sites nobody wants cost nothing.
    fn wants(&self, site: Site) -> bool;

    /// Shows the activation `x` `[batch, tokens, width]` at a wanted site.
    fn visit(&mut self, site: Site, x: Tensor<3>) -> Flow;
}

/// The hook that wants nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHook;

impl Hook for NoHook {
    fn wants(&self, _: Site) -> bool {
        false
    }

    fn visit(&mut self, _: Site, x: Tensor<3>) -> Flow {
        Flow::Continue(x)
    }
}

/// Keeps the activations of some sites, and stops behind the last of them if asked to.
#[derive(Debug, Default)]
pub struct Observer {
    seen: BTreeMap<Site, Option<Tensor<3>>>,
    stop_at: Option<Site>,
}

impl Observer {
    /// Keeps these sites and lets the forward pass finish.
    pub fn of(sites: impl IntoIterator<Item = Site>) -> Self {
        Self { seen: sites.into_iter().map(|site| (site, None)).collect(), stop_at: None }
    }

    /// Keeps these sites and stops at the last one: layers above it are never computed.
    pub fn up_to(sites: impl IntoIterator<Item = Site>) -> Self {
        let mut observer = Self::of(sites);
        observer.stop_at = observer.seen.keys().next_back().copied();
        observer
    }

    /// Takes what was seen at a site; `None` if the forward pass never came there.
    pub fn take(&mut self, site: Site) -> Option<Tensor<3>> {
        self.seen.get_mut(&site)?.take()
    }
}

impl Hook for Observer {
    fn wants(&self, site: Site) -> bool {
        self.seen.contains_key(&site)
    }

    fn visit(&mut self, site: Site, x: Tensor<3>) -> Flow {
        self.seen.insert(site, Some(x.clone()));
        if self.stop_at == Some(site) { Flow::Stop } else { Flow::Continue(x) }
    }
}

/// Shows `x` to the hook if it wants the site; `None` means stop. Architectures call this with `?`.
pub(crate) fn at(hook: &mut dyn Hook, site: Site, x: Tensor<3>) -> Option<Tensor<3>> {
    if !hook.wants(site) {
        return Some(x);
    }
    match hook.visit(site, x) {
        Flow::Continue(x) => Some(x),
        Flow::Stop => None,
    }
}
