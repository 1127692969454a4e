//! The scripts of the log, and the digests under which Redis has those that were loaded.

/// A script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LogScript {
    /// A call that a full Redis refuses as a whole.
    Call,
    /// A call that a full Redis takes.
    CallWhenFull,
    Adopt,
    Renew,
    Page,
    Look,
    Tidy,
    Block,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct LogScripts([Option<String>; 8]);

impl LogScript {
    pub(super) fn text(self) -> String {
        let call = include_str!("lua/call.lua");
        match self {
            Self::Call => format!("#!lua\n{call}"),
            Self::CallWhenFull => format!("#!lua flags=allow-oom\n{call}"),
            Self::Adopt => include_str!("lua/adopt.lua").into(),
            Self::Renew => include_str!("lua/renew.lua").into(),
            Self::Page => include_str!("lua/page.lua").into(),
            Self::Look => include_str!("lua/look.lua").into(),
            Self::Tidy => include_str!("lua/tidy.lua").into(),
            Self::Block => include_str!("lua/block.lua").into(),
        }
    }
}

impl LogScripts {
    /// Returns the digest of a script that was loaded.
    pub(super) fn digest(&self, script: LogScript) -> Option<&str> {
        self.0[script as usize].as_deref()
    }

    pub(super) fn set_digest(&mut self, script: LogScript, digest: String) {
        self.0[script as usize] = Some(digest);
    }
}
