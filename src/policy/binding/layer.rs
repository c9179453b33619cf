use std::sync::Arc;

use super::DigestBinding;
use crate::oci::BasePath;
use crate::policy::PolicyError;
use crate::{Preset, Responder};

/// Gives a digest only by a repository that leads to it. See the [module](super).
///
/// ```
/// use portcullis::policy::{BindingLayer, DigestBinding};
/// use portcullis::{Preset, Responder};
///
/// let binding = DigestBinding::new(1_000_000);
/// let layer = BindingLayer::new(binding).with_responder(Responder::new(Preset::Mirror));
/// ```
#[derive(Clone, Debug)]
pub struct BindingLayer {
    pub(super) binding: Option<DigestBinding>,
    pub(super) responder: Responder,
    pub(super) base_path: Option<BasePath>,
    pub(super) exempt: Arc<[Box<str>]>,
}

impl BindingLayer {
    /// Gives what `binding` knows.
    pub fn new(binding: DigestBinding) -> Self {
        Self {
            binding: Some(binding),
            ..Self::open()
        }
    }

    pub(crate) fn binding(&self) -> Option<&DigestBinding> {
        self.binding.as_ref()
    }

    pub(crate) fn save(&self) -> Result<(), PolicyError> {
        self.binding.as_ref().map_or(Ok(()), DigestBinding::save)
    }

    /// Gives everything by any repository, as if the layer were not there: for a stack in which it
    /// can be left out.
    pub fn open() -> Self {
        Self {
            binding: None,
            responder: Responder::new(Preset::default()).with_hidden(true),
            base_path: None,
            exempt: Arc::default(),
        }
    }

    /// Answers refused requests in this way, but always as if there were no such content: clients
    /// that push ask first, and send what is not there. Default: [`Preset::Mirror`].
    pub fn with_responder(mut self, responder: Responder) -> Self {
        self.responder = responder.with_hidden(true);
        self
    }

    /// Gives callers in one of these groups everything by any repository, and learns from what they get. That is for the
    /// peers of a registry of nodes: they ask this node for what another one's gate saw the manifest of, and were
    /// bound there, where their client asked for the manifest first. Default: none.
    pub fn with_exempt_groups<G: Into<Box<str>>>(
        mut self,
        groups: impl IntoIterator<Item = G>,
    ) -> Self {
        self.exempt = groups.into_iter().map(Into::into).collect();
        self
    }

    pub(crate) fn exempt_groups(&self) -> &[Box<str>] {
        &self.exempt
    }

    /// Reads paths as what is left of those under `base`, as
    /// [`guard::Builder::base_path`](crate::guard::Builder::base_path) does.
    pub fn with_base_path(mut self, base: &str) -> Self {
        self.base_path = Some(BasePath::new(base));
        self
    }
}
