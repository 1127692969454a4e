//! The counters of the links of gateways.

use crate::base::metric::numbers;

numbers! {
    /// Counters of all links.
    pub struct LinkNumbers {
        /// Links of gateways now.
        Gauge open,
        /// Messages of gateways that were let in.
        Counter given,
        /// Messages of gateways that were acknowledged or on their way already.
        Counter repeated,
        /// Messages of gateways that were refused for good.
        Counter refused,
        /// Times that a gateway was told to wait.
        Counter busy,
        /// Links that ended since their gateway opened another one.
        Counter replaced,
        /// Times that a gateway had let go of what its mark asks for.
        Counter jumped,
    }
}
