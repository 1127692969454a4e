//! Connections by HTTP.

use super::HttpApi;
use super::body;
use super::call::ApiCall;
use super::orders::ConnectionOrder;
use super::reply::ApiReply;
use crate::api::refusal::Refusal;
use crate::base::Fd;

impl HttpApi {
    /// `GET /v1/connections`: those of this node, or of another one.
    pub(super) fn connections(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let here = self.listed(call.server, &call.query)?;
        let Some(name) = call.query.text("node") else {
            return Ok(here.into());
        };
        if self.services.nodes().is_none() {
            return Err(Refusal::not_found(format!("there is no node {name:?}")));
        }
        let request = self.passed_on(call, "");
        Ok(ApiReply::OfNode(name.into(), request, here))
    }

    /// `GET /v1/connections/{fd}`
    pub(super) fn connection(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        self.order(call, &ConnectionOrder::Show, "")
    }

    /// `DELETE /v1/connections/{fd}`
    pub(super) fn disconnect(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        self.order(call, &ConnectionOrder::Close, "")
    }

    /// `PUT /v1/connections/{fd}/user`
    pub(super) fn bind(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let body = call.body()?;
        let uid = body::user(body)?;
        if !self.is_elsewhere(call)
            && let Some(order) = self.sessions.bind_order(Fd(call.names.fd), &uid)?
        {
            return Ok(ApiReply::Bind(order));
        }
        self.order(call, &ConnectionOrder::Bind(uid), body)
    }

    /// `DELETE /v1/connections/{fd}/user`
    pub(super) fn unbind(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        self.order(call, &ConnectionOrder::Unbind, "")
    }

    /// `GET /v1/connections/{fd}/session`
    pub(super) fn session(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        self.order(call, &ConnectionOrder::Session, "")
    }

    /// `PUT /v1/connections/{fd}/session`
    pub(super) fn set_session(&self, call: &ApiCall<'_>) -> Result<ApiReply, Refusal> {
        let body = call.body()?;
        self.order(
            call,
            &ConnectionOrder::SetSession(body::session(body)?),
            body,
        )
    }
}
