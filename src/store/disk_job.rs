//! A job of the disk thread: the records that it writes, and their outcomes.

use super::error::StoreError;
use super::record::{Appended, EnteredChannels, Record};

/// One or more records for the disk thread to write, and what follows from them.
pub trait DiskJob: Send + 'static {
    /// The things that all jobs of one disk thread share; the thread owns them and lends them to
    /// each call.
    type Context: Send + 'static;

    /// Waits until the thread may begin; called once, before anything else.
    fn begins(_context: &Self::Context) {}

    /// Counts roughly the bytes that the job keeps while it waits.
    fn size(&self) -> usize;

    /// Counts the records of the job; one at least. All of them go into one batch.
    fn records(&self) -> usize {
        1
    }

    /// Makes the record at this place, from 0; called once a place and in their order, on the disk
    /// thread, just before the record is appended.
    fn record<'a>(&'a self, place: usize, context: &'a Self::Context) -> Record<'a>;

    /// Notes that the store refused a record; called before anything behind that is appended.
    fn refused(&self) {}

    /// Passes on which records are durable, and why others aren't. Called on the disk thread, in
    /// the order in which the jobs were submitted; must not wait.
    fn done(self, context: &Self::Context, outcomes: JobOutcomes<'_>);

    /// Passes on what the jobs of a batch have left to pass on together; called after the last of
    /// them.
    fn all_done(_context: &Self::Context) {}
}

/// The outcomes of a job's records, once the batch was committed or wasn't.
#[derive(Debug, Clone, Copy)]
pub struct JobOutcomes<'a> {
    pub(super) appended: &'a [Result<Appended, StoreError>],
    pub(super) committed: &'a Result<(), StoreError>,
    /// What [`Appended::Entered`] names by a place.
    pub(super) entered: &'a [EnteredChannels],
}

impl<'a> JobOutcomes<'a> {
    /// Returns the outcome of the first record, which is that of most jobs.
    pub fn first(self) -> Result<Appended, &'a StoreError> {
        self.of(&self.appended[0])
    }

    /// Returns the channels that are heard now, of [`Appended::Entered`].
    pub fn entered(self, place: u32) -> &'a EnteredChannels {
        &self.entered[place as usize]
    }

    /// Lists the outcomes of all records, in their order.
    pub fn iter(self) -> impl Iterator<Item = Result<Appended, &'a StoreError>> {
        self.appended.iter().map(move |appended| self.of(appended))
    }

    fn of(self, appended: &'a Result<Appended, StoreError>) -> Result<Appended, &'a StoreError> {
        match (appended, self.committed) {
            (Ok(appended), Ok(())) => Ok(*appended),
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
        }
    }
}
