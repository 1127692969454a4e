//! The tables in MySQL that a node of a cluster writes besides, for programs that read them there.
//!
//! The cluster's Redis says which run of a node stands, and who is a lasting member; the tables follow it.
//! Each node writes its own rows, under the generation under which it calls. With its beats it also takes out
//! what runs have left that stand no more, a part at a time, and puts lasting memberships right: any node may
//! do both, and two at once do no harm.
//!
//! Invariant: a generation is entered here after it stands in the cluster. So one that is found here, and
//! later doesn't stand there, is over.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bindings::MySqlBindings;
use super::connection::MySqlConnection;
use super::statements::MySqlTables;
use crate::chat::{
    BindingChange, BindingError, BindingNode, BindingStore, Bindings, GenerationState, User,
};
use crate::cluster::EngineSettings;
use crate::cluster::redis::{LastingMember, RedisTruth};
use crate::cluster::shared::{NodePart, NodeShared};

/// Time for which one beat takes out rows of runs that are over: what changes meanwhile waits for it.
const CLEAN_A_BEAT: Duration = Duration::from_millis(250);

/// Pause after rows of a run that is over were locked: its node may be frozen in the middle of a write.
const CLEAN_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Time between two looks at the tables for rows of runs that are over, while no run comes or goes.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Lasting memberships of one write.
const MEMBERS_A_WRITE_MAX: usize = 500;

/// The way of a node of a cluster to a MySQL.
pub(in crate::cluster) struct MySqlNodeStore {
    pub(in crate::cluster) settings: EngineSettings,
    pub(in crate::cluster) shared: Arc<NodeShared>,
}

impl BindingStore for MySqlNodeStore {
    fn open(&self) -> Result<Box<dyn Bindings>, BindingError> {
        let mut connection = MySqlConnection::open(&self.settings)?;
        connection.check()?;
        connection.share()?;
        let mut tables = MySqlBindings::new(connection, MySqlTables(self.settings.prefix.clone()));
        // A node that an upgrade has brought here is registered already.
        tables.make_tables()?;
        let engine = &self.shared.settings.engine;
        let answer_max = engine.answer_max.min(self.settings.answer_max);
        Ok(Box::new(MySqlNodeBindings {
            tables,
            cluster: ClusterTruth {
                settings: EngineSettings {
                    answer_max,
                    ..engine.clone()
                },
                open: None,
            },
            generation: self.shared.generation(),
            shared: Arc::clone(&self.shared),
            follows: false,
            members_due: true,
            late_calls: self.shared.late_calls(),
            cleaned: CleanedRuns::default(),
        }))
    }
}

/// The tables, through one connection.
struct MySqlNodeBindings {
    tables: MySqlBindings,
    cluster: ClusterTruth,
    shared: Arc<NodeShared>,
    /// The node's generation, as it stood when the connection was opened.
    generation: u64,
    /// Whether the node's own rows have been compared, which come first.
    follows: bool,
    /// Whether all lasting memberships are to be compared.
    members_due: bool,
    /// The calls that were settled late, when that was looked at last.
    late_calls: u64,
    cleaned: CleanedRuns,
}

/// The runs that stood when nothing was left of others.
#[derive(Debug, Default)]
struct CleanedRuns {
    under: Vec<(String, u64)>,
    /// How often others had said by then that generations came or went: one may do both between two looks.
    notes: u64,
    /// When a look found nothing.
    at: Option<Instant>,
    /// The time before which it isn't tried again.
    not_before: Option<Instant>,
}

/// The way to what the tables follow; opened when it is needed.
struct ClusterTruth {
    settings: EngineSettings,
    open: Option<RedisTruth>,
}

/// Whose failure it is that the tables don't follow the cluster.
#[derive(Debug)]
enum FollowError {
    /// The cluster's: it is tried again with the next beat.
    Cluster(BindingError),
    /// That of the tables.
    Tables(BindingError),
}

impl From<BindingError> for FollowError {
    fn from(error: BindingError) -> Self {
        Self::Tables(error)
    }
}

impl ClusterTruth {
    fn ask<T>(
        &mut self,
        ask: impl FnOnce(&mut RedisTruth) -> Result<T, BindingError>,
    ) -> Result<T, FollowError> {
        let opened = match self.open.take() {
            Some(truth) => Ok(truth),
            None => RedisTruth::open(&self.settings),
        };
        let mut truth = opened.map_err(FollowError::Cluster)?;
        let answer = ask(&mut truth).map_err(FollowError::Cluster)?;
        self.open = Some(truth);
        Ok(answer)
    }
}

impl MySqlNodeBindings {
    /// The node with the generation whose rows these are.
    fn own(&self, node: &BindingNode) -> BindingNode {
        BindingNode {
            generation: self.generation,
            ..node.clone()
        }
    }

    /// Whether the node calls under the generation of these rows.
    fn is_present(&self) -> bool {
        self.shared.generation() == self.generation && !self.shared.has_lost_generation()
    }

    /// Fails if the generation doesn't stand in the cluster.
    fn expect_standing(&mut self, node: &BindingNode) -> Result<(), BindingError> {
        let standing = self.cluster.ask(RedisTruth::standing);
        let standing =
            standing.map_err(|(FollowError::Cluster(error) | FollowError::Tables(error))| error)?;
        match self.is_present() && stands(&standing, node) {
            true => Ok(()),
            false => Err(BindingError::Away(
                "the node isn't registered in its cluster".into(),
            )),
        }
    }

    /// Follows the cluster, where its Redis answers.
    fn follow(&mut self, node: &BindingNode) -> Result<(), BindingError> {
        if !self.follows || !self.shared.is_ready(NodePart::Log) {
            return Ok(());
        }
        let late_calls = self.shared.late_calls();
        self.members_due |= late_calls != self.late_calls;
        self.late_calls = late_calls;
        let followed = match self.members_due {
            true => self.compare_members(),
            false => Ok(()),
        };
        let followed = followed.and_then(|()| self.clean(node));
        match followed {
            Ok(()) => Ok(()),
            Err(FollowError::Cluster(error)) => {
                let error = &error as &dyn std::error::Error;
                tracing::debug!(error, "the tables can't follow the cluster at the moment");
                Ok(())
            }
            Err(FollowError::Tables(error)) => Err(error),
        }
    }

    /// Puts right what differs of all lasting memberships.
    fn compare_members(&mut self) -> Result<(), FollowError> {
        let lasting = self.cluster.ask(RedisTruth::lasting)?;
        let mut written = BTreeSet::new();
        self.tables.members(&mut |room, uid| {
            written.insert((room, uid));
        })?;
        let differing: Vec<_> = lasting.symmetric_difference(&written).cloned().collect();
        for part in differing.chunks(MEMBERS_A_WRITE_MAX) {
            self.write_members(part.to_vec())?;
        }
        self.members_due = false;
        Ok(())
    }

    /// Writes what is so about lasting memberships, whoever else does the same.
    fn write_members(&mut self, mut members: Vec<LastingMember>) -> Result<(), FollowError> {
        while !members.is_empty() {
            let before = self.cluster.ask(|truth| truth.are_lasting(&members))?;
            let changes =
                members
                    .iter()
                    .zip(&before)
                    .map(|((room, uid), lasts)| BindingChange::Lasting {
                        room: room.as_str().into(),
                        user: User::of_uid(uid),
                        is_member: *lasts,
                    });
            let changes: Vec<BindingChange> = changes.collect();
            self.tables.write_members(&changes)?;
            // Another node may have changed it meanwhile, and have written that before this was.
            let after = self.cluster.ask(|truth| truth.are_lasting(&members))?;
            let pairs = members.into_iter().zip(before.into_iter().zip(after));
            let changed = pairs.filter(|(_, (before, after))| before != after);
            members = changed.map(|(member, _)| member).collect();
        }
        Ok(())
    }

    /// Takes out a part of what runs have left that are over.
    fn clean(&mut self, node: &BindingNode) -> Result<(), FollowError> {
        let now = Instant::now();
        if self.cleaned.not_before.is_some_and(|at| now < at) {
            return Ok(());
        }
        let notes = self.shared.generation_notes();
        let standing = self.cluster.ask(RedisTruth::standing)?;
        let is_recent = (self.cleaned.at).is_some_and(|at| now.duration_since(at) < LOOK_EVERY);
        if is_recent && notes == self.cleaned.notes && standing == self.cleaned.under {
            return Ok(());
        }
        let runs = self.tables.runs()?;
        // Read once more: a run that is in the tables has stood before.
        let standing = self.cluster.ask(RedisTruth::standing)?;
        if !stands(&standing, node) {
            return Ok(());
        }
        let mut found_any = false;
        for run in runs.into_iter().filter(|run| !standing.contains(run)) {
            found_any = true;
            match self.tables.clean_run(&run, now + CLEAN_A_BEAT) {
                Ok(true) => {
                    let (name, generation) = run;
                    tracing::info!(
                        node = name,
                        generation,
                        "rows of a run that is over are taken out of the tables"
                    );
                    // It may have changed some and not have written that.
                    self.members_due = true;
                }
                Ok(false) => return Ok(()),
                Err(error) if MySqlConnection::is_busy(&error) => {
                    self.cleaned.not_before = Some(now + CLEAN_AGAIN_AFTER);
                    return self.tables.roll_back().map_err(FollowError::Tables);
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.cleaned = CleanedRuns {
            under: standing,
            notes,
            // What a run had on its way may come behind its cleaning: the next beat looks once more.
            at: (!found_any).then_some(now),
            not_before: None,
        };
        Ok(())
    }
}

impl Bindings for MySqlNodeBindings {
    fn register(&mut self, node: &BindingNode) -> Result<(), BindingError> {
        let own = self.own(node);
        self.expect_standing(&own)?;
        self.tables.register(&own)
    }

    fn beat(&mut self, node: &BindingNode) -> Result<GenerationState, BindingError> {
        let own = self.own(node);
        if !self.is_present() || self.tables.beat(&own)? != GenerationState::Own {
            // Whose the name is, the cluster says: no other counter is waited for.
            return Ok(GenerationState::None);
        }
        self.follow(&own)?;
        Ok(GenerationState::Own)
    }

    fn rows(
        &mut self,
        node: &BindingNode,
        visit: &mut dyn FnMut(BindingChange),
    ) -> Result<(), BindingError> {
        self.follows = true;
        self.members_due = true;
        self.tables.own_rows(&self.own(node), visit)
    }

    fn write(&mut self, node: &BindingNode, changes: &[BindingChange]) -> Result<(), BindingError> {
        if !self.is_present() {
            return Err(BindingError::Displaced);
        }
        let own = self.own(node);
        let (mut rows, mut members) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                BindingChange::Lasting { room, user, .. } => {
                    members.push((room.to_string(), user.uid().to_owned()));
                }
                change => rows.push(change),
            }
        }
        self.tables.write_rows(&own, &rows)?;
        match self.write_members(members) {
            Ok(()) => Ok(()),
            Err(FollowError::Cluster(_)) => {
                self.members_due = true;
                Ok(())
            }
            Err(FollowError::Tables(error)) => Err(error),
        }
    }

    fn leave(&mut self, node: &BindingNode) -> Result<(), BindingError> {
        let own = self.own(node);
        self.tables.leave(&own)
    }
}

/// Whether a run is among those that stand.
fn stands(standing: &[(String, u64)], node: &BindingNode) -> bool {
    (standing.iter()).any(|(name, generation)| *name == node.name && *generation == node.generation)
}
