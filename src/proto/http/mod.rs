//! The server side of HTTP/1.1 (RFC 9110, RFC 9112), sans-IO.
