//! The chat page and its client, built into the binary; the page loads nothing from elsewhere.

use std::sync::LazyLock;

/// One file of the page.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// The path at which the file is served; the page itself is at `/`.
    pub path: &'static str,
    /// The value of its `Content-Type`.
    pub content_type: &'static str,
    /// The text of the file.
    pub body: &'static str,
}

/// The `Content-Security-Policy` that the page is written for: no inline script or style, and
/// nothing from or to another origin.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The headers that every asset is served with, its `Content-Type` apart.
pub const HEADERS: [(&str, &str); 3] = [
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),
];

/// The modules of the client, each after those that it imports.
const CLIENT: [&str; 12] = [
    include_str!("client/error.js"),
    include_str!("client/timers.js"),
    include_str!("client/commands.js"),
    include_str!("client/frames.js"),
    include_str!("client/positions.js"),
    include_str!("client/acks.js"),
    include_str!("client/events.js"),
    include_str!("client/ending.js"),
    include_str!("client/options.js"),
    include_str!("client/link.js"),
    include_str!("client/stream.js"),
    include_str!("client/client.js"),
];

/// The whole client as one module, which anyone may copy: its modules without their imports, and
/// with no exports but those of the last.
static CLIENT_JS: LazyLock<String> = LazyLock::new(|| {
    let (client, parts) = CLIENT.split_last().expect("the client has modules");
    let mut joined = head(client).to_owned();
    for line in parts.iter().flat_map(|part| part.lines()) {
        if !line.starts_with("import ") {
            joined.push_str(line.strip_prefix("export ").unwrap_or(line));
            joined.push('\n');
        }
    }
    for line in client[head(client).len()..].lines() {
        if !line.starts_with("import ") {
            joined.push_str(line);
            joined.push('\n');
        }
    }
    joined
});

/// Returns the comment with which a file begins.
fn head(file: &str) -> &str {
    let end = file.find("*/\n").map_or(0, |end| end + "*/\n".len());
    &file[..end]
}

/// All files, the page first.
pub static ASSETS: LazyLock<[Asset; 18]> = LazyLock::new(|| {
    [
        Asset {
            path: "/",
            content_type: "text/html; charset=utf-8",
            body: include_str!("page/index.html"),
        },
        Asset {
            path: "/page.css",
            content_type: "text/css; charset=utf-8",
            body: include_str!("page/page.css"),
        },
        script("/page.js", include_str!("page/page.js")),
        script("/banner.js", include_str!("page/banner.js")),
        script("/chat.js", include_str!("page/chat.js")),
        script("/conversation.js", include_str!("page/conversation.js")),
        script("/drawers.js", include_str!("page/drawers.js")),
        script("/entry.js", include_str!("page/entry.js")),
        script("/history.js", include_str!("page/history.js")),
        script("/memory.js", include_str!("page/memory.js")),
        script("/outgoing.js", include_str!("page/outgoing.js")),
        script("/screen.js", include_str!("page/screen.js")),
        script("/token.js", include_str!("page/token.js")),
        script("/view.js", include_str!("page/view.js")),
        script("/words.js", include_str!("page/words.js")),
        script("/client.js", &CLIENT_JS),
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
    ]
});

fn script(path: &'static str, body: &'static str) -> Asset {
    Asset {
        path,
        content_type: "text/javascript; charset=utf-8",
        body,
    }
}

/// Finds the file that is served at a path (without its query), if there is one.
pub fn asset(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_the_page_names_is_there() {
        for Asset { body, .. } in ASSETS.iter() {
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
        for Asset { body, path, .. } in ASSETS.iter() {
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
