//! What a reload may change, as it is in force at this moment.
//!
//! All of it is one value that is replaced as a whole: a request is judged by the old settings or by the
//! new ones, never by some of both.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::echo::ECHO_SIZE_MAX;
use super::origin::SameOrigin;
use crate::auth::Access;
use crate::config::Settings;

/// The settings that each request is judged by.
#[derive(Debug)]
pub(super) struct InForce {
    /// The keys of users and back ends.
    pub(super) access: Access,
    /// The rules for `Host` and `Origin`.
    pub(super) rules: SameOrigin,
    /// Whether the chat page is served.
    pub(super) has_page: bool,
    /// The largest message that `/echo` takes, in bytes, if it is there.
    pub(super) echo_size_max: Option<usize>,
}

/// The settings in force, shared by all that judge by them.
pub(super) type Current = Arc<ArcSwap<InForce>>;

impl InForce {
    pub(super) fn new(settings: &Settings, access: Access) -> Self {
        let general = &settings.general;
        let is_open = access.is_open();
        let origins = general.origins_allowed.iter();
        let echo_size = settings.websocket.message_size_max.max(ECHO_SIZE_MAX);
        Self {
            rules: SameOrigin {
                origins_allowed: origins.map(|one| one.0.clone()).collect(),
                // With keys every client has to show one, whatever name led here.
                any_host: general.insecure || !is_open,
            },
            has_page: general.page.is_on(is_open),
            echo_size_max: general.echo.then_some(echo_size),
            access,
        }
    }

    pub(super) fn shared(self) -> Current {
        Arc::new(ArcSwap::from_pointee(self))
    }
}
