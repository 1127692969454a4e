//! A program of the library that can be upgraded: what its callbacks write down, and what those of the
//! next image make of it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::entered::Entered;
use super::pause::{now_us, since};
use super::program_state::{PROGRAM, ProgramState};
use super::reactors::rehearse_reactors;
use super::sections::{FreezeSections, SECTIONS, ThawSections};
use super::stages::{Collected, HandOver};
use super::{DESCRIPTORS, FRAMES, PROCESSES, REACTOR, SERVER, UpgradeOutcome, WAITING};
use crate::handover::{Handover, HandoverHead, HandoverWriter, SectionFormat};
use crate::server::freeze::FrozenServer;
use crate::server::handler_set::BoxError;
use crate::server::shared::ServerShared;

/// Every section of a program of the library.
const KNOWN: &[SectionFormat] = &[
    PROGRAM,
    SECTIONS,
    DESCRIPTORS,
    SERVER,
    REACTOR,
    FRAMES,
    WAITING,
    PROCESSES,
];

/// The function of [`Builder::on_freeze`](crate::server::Builder::on_freeze).
pub(in crate::server) type OnFreeze = Box<dyn Fn(&mut FreezeSections) + Send + Sync>;

/// The function of [`Builder::on_thaw`](crate::server::Builder::on_thaw).
pub(in crate::server) type OnThaw =
    Box<dyn Fn(&ThawSections<'_>) -> Result<(), BoxError> + Send + Sync>;

/// A program that can be upgraded.
#[derive(Default)]
pub(in crate::server) struct UpgradableProgram {
    /// Its version, as the program calls it; `None` where it can't be upgraded.
    pub(in crate::server) version: Option<String>,
    pub(in crate::server) on_freeze: Option<OnFreeze>,
    pub(in crate::server) on_thaw: Option<OnThaw>,
}

impl fmt::Debug for UpgradableProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpgradableProgram")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// What the image before has left to do, once this one goes on.
#[derive(Debug, Clone)]
pub(in crate::server) struct ThawedProgram {
    pub(in crate::server) state: ProgramState,
    from: String,
    back: Option<String>,
}

impl ThawedProgram {
    /// How the upgrade ended, at the moment at which this image goes on.
    pub(in crate::server) fn outcome(&self) -> UpgradeOutcome {
        let (connections, pause) = (self.state.connections, since(self.state.stood_since_us));
        match self.back.clone() {
            None => UpgradeOutcome::Upgraded {
                from: self.from.clone(),
                connections,
                pause,
            },
            Some(reason) => UpgradeOutcome::TakenBack {
                reason,
                connections,
                pause,
            },
        }
    }
}

impl UpgradableProgram {
    /// Collects the handover of a server that stands still.
    pub(in crate::server) fn hand_over(
        &self,
        shared: &ServerShared,
        started_by: &Path,
        frozen: &mut FrozenServer<'_>,
        hand_over: &mut HandOver<'_>,
    ) -> Result<(), String> {
        let mut writer = HandoverWriter::new();
        let server = frozen.hand_over(&mut writer)?;
        let mut out = FreezeSections::default();
        if let Some(on_freeze) = &self.on_freeze {
            let written = shared.freeze.mute(|| {
                // Nothing of the server is changed by it.
                catch_unwind(AssertUnwindSafe(|| on_freeze(&mut out)))
            });
            written.map_err(|_| "on_freeze has panicked")?;
        }
        out.hand_over(writer.section_of(SECTIONS))?;
        let state = ProgramState {
            started_by: started_by.to_owned(),
            stood_since_us: now_us().saturating_sub(server.hushed.as_micros() as u64),
            connections: server.connections,
            awaits_upgrade: shared.main.upgrades.is_asked(),
            awaits_renewal: shared.main.renewals.is_asked(),
        };
        state.write(writer.section_of(PROGRAM));
        let head = HandoverHead {
            program: self.version.clone().unwrap_or_default(),
            ..server.head
        };
        hand_over(Collected {
            writer,
            head,
            kept: server.descriptors,
        });
        Ok(())
    }

    /// Takes over what the image before has handed over of the program.
    pub(in crate::server) fn take_over(
        &self,
        entered: &Entered,
    ) -> Result<ThawedProgram, BoxError> {
        let handover = entered.handover()?;
        self.thaw(&handover)?;
        Ok(ThawedProgram {
            state: ProgramState::read(&handover)?,
            from: handover.head().program.clone(),
            back: entered.back().map(str::to_owned),
        })
    }

    /// Takes over a trial handover, and gives it up again.
    pub(super) fn rehearse(&self, handover: &Handover<'_>) -> Result<(), BoxError> {
        rehearse_reactors(handover)?;
        ProgramState::read(handover)?;
        self.thaw(handover)
    }

    fn thaw(&self, handover: &Handover<'_>) -> Result<(), BoxError> {
        handover.check(KNOWN)?;
        let sections = ThawSections::of(handover)?;
        if let Some(on_thaw) = &self.on_thaw {
            on_thaw(&sections)?;
        }
        match sections.unread() {
            None => Ok(()),
            Some(name) => Err(format!(
                "the program would forget section {name}: on_thaw doesn't read it"
            )
            .into()),
        }
    }
}
