//! What a reload may change, as it is in force at this moment.
//!
//! All of it is one value that is replaced as a whole: a request is judged by the old settings or by the
//! new ones, never by some of both.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tidings::api::bearer;

use super::cross_origin::CrossOrigin;
use super::echo::ECHO_SIZE_MAX;
use super::origin::SameOrigin;
use crate::auth::{Access, ApiKeys, Secret};
use crate::config::Settings;

/// Bytes of a gateway's frame beside the data of a message: a hundred receivers with the longest
/// names, each character escaped.
const LINK_FRAME_SIZE: usize = 256 * 1_024;

/// The settings that each request is judged by.
#[derive(Debug)]
pub(super) struct InForce {
    /// The keys of users and back ends.
    pub(super) access: Access,
    /// The key that gateways have to show; without one there is no `/link`.
    pub(super) link_keys: ApiKeys,
    /// The largest message of a gateway, in bytes.
    pub(super) link_size_max: usize,
    /// The rules for `Host` and `Origin`.
    pub(super) rules: SameOrigin,
    /// Whether there are proxies that are believed.
    pub(super) believes_proxies: bool,
    /// What answers tell browsers of other origins.
    pub(super) cross_origin: CrossOrigin,
    /// Whether the chat page is served.
    pub(super) has_page: bool,
    /// The largest message that `/echo` takes, in bytes, if it is there.
    pub(super) echo_size_max: Option<usize>,
}

/// The settings in force, shared by all that judge by them.
pub(super) type Current = Arc<ArcSwap<InForce>>;

impl InForce {
    pub(super) fn new(settings: &Settings, access: Access, link_key: Option<&Secret>) -> Self {
        let general = &settings.general;
        let is_open = access.is_open();
        let origins = general.origins_allowed.iter();
        let origins_allowed: Vec<String> = origins.map(|one| one.0.clone()).collect();
        let echo_size = settings.websocket.message_size_max.max(ECHO_SIZE_MAX);
        Self {
            link_keys: ApiKeys::new(link_key.map(|key| ("gateways", key))),
            link_size_max: settings.websocket.message_size_max + LINK_FRAME_SIZE,
            believes_proxies: !general.proxies_trusted.is_empty(),
            cross_origin: CrossOrigin::of(&origins_allowed),
            rules: SameOrigin {
                origins_allowed,
                // With keys every client has to show one, whatever name led here.
                any_host: general.insecure || !is_open,
            },
            has_page: general.page.is_on(is_open),
            echo_size_max: general.echo.then_some(echo_size),
            access,
        }
    }

    /// Whether a gateway that shows this field may open its link.
    pub(super) fn admits_link(&self, authorization: Option<&str>) -> bool {
        let key = bearer(authorization);
        key.is_some_and(|key| self.link_keys.who(key).is_some())
    }

    pub(super) fn shared(self) -> Current {
        Arc::new(ArcSwap::from_pointee(self))
    }
}
