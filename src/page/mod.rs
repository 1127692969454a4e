//! The chat page and its client, as they stand in the binary; nothing of them comes from elsewhere.

/// One file of the page.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// The path at which it is served; the page itself is at `/`.
    pub path: &'static str,
    /// The value of its `Content-Type`.
    pub content_type: &'static str,
    /// Its bytes, UTF-8.
    pub body: &'static str,
}

/// The `Content-Security-Policy` that the page is written for: no inline script or style, and
/// nothing from or to another origin.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The headers that every asset is served with, its `Content-Type` apart.
pub const HEADERS: [(&str, &str); 4] = [
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
];

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Everything there is, the page first.
pub const ASSETS: [Asset; 8] = [
    Asset {
        path: "/",
        content_type: "text/html; charset=utf-8",
        body: include_str!("index.html"),
    },
    Asset {
        path: "/page.css",
        content_type: "text/css; charset=utf-8",
        body: include_str!("page.css"),
    },
    Asset {
        path: "/page.js",
        content_type: SCRIPT,
        body: include_str!("page.js"),
    },
    Asset {
        path: "/conversation.js",
        content_type: SCRIPT,
        body: include_str!("conversation.js"),
    },
    Asset {
        path: "/view.js",
        content_type: SCRIPT,
        body: include_str!("view.js"),
    },
    Asset {
        path: "/client.js",
        content_type: SCRIPT,
        body: include_str!("client.js"),
    },
    Asset {
        path: "/client.d.ts",
        content_type: "text/plain; charset=utf-8",
        body: include_str!("client.d.ts"),
    },
    Asset {
        path: "/favicon.svg",
        content_type: "image/svg+xml",
        body: include_str!("favicon.svg"),
    },
];

/// The file served at a path (without its query), if there is one.
pub fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_the_page_names_is_there() {
        for Asset { body, .. } in &ASSETS {
            for (before, after) in [("href=\"", '"'), ("src=\"", '"'), ("from \"./", '"')] {
                for name in body.split(before).skip(1) {
                    let name = name.split(after).next().unwrap_or_default();
                    // `#…` is in the page itself, `/…` an example in a comment.
                    if !name.starts_with(['#', '/']) {
                        assert!(asset(&format!("/{name}")).is_some(), "{name}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_page_needs_nothing_that_its_policy_forbids() {
        let page = ASSETS[0].body;
        for inline in [
            "<style",
            "style=",
            "<script>",
            "onclick=",
            "javascript:",
            "data:",
            "http:",
            "https:",
        ] {
            assert!(!page.contains(inline), "{inline}");
        }
    }

    #[test]
    fn no_script_makes_markup_out_of_text() {
        for Asset { body, path, .. } in &ASSETS {
            for sink in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
            ] {
                assert!(!body.contains(sink), "{path}: {sink}");
            }
        }
    }

    #[test]
    fn a_path_that_is_no_asset_is_none() {
        assert!(asset("/../Cargo.toml").is_none());
        assert!(asset("/page.css").is_some());
    }
}
