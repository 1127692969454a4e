//! The execution of the next image, with a handover.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use super::descriptors;
use super::entered::{environment, own_arguments, said};
use super::kernel::{
    DescriptorKind, Execution, Inheritance, sealed_memory, set_inheritance, uninterruptible_thread,
};
use crate::base::vital::{is_told_to_fail, wait_while_told};
use crate::handover::{HandoverHead, HandoverWriter};

/// Time for threads that wait for a device; a disk that takes longer is stuck.
const UNINTERRUPTIBLE_MAX: Duration = Duration::from_millis(500);

/// Time between two looks at them.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// The files of an upgrade: both can be executed by their descriptors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Images {
    /// The next image.
    pub(super) next: RawFd,
    /// The image that runs.
    pub(super) own: RawFd,
}

/// Names the descriptors that are carried, in the handover itself.
pub(super) fn name_descriptors(writer: &mut HandoverWriter, kept: &[(RawFd, DescriptorKind)]) {
    descriptors::write(kept, writer.section_of(descriptors::DESCRIPTORS));
}

/// Executes the next image with a handover that names these descriptors, and returns only if that
/// fails; then nothing has changed. To be called on the main thread, while everything stands still.
/// `last` is called just before.
///
/// # Errors
///
/// The system gives no memory, or refuses the image.
pub(super) fn execute_next(
    writer: HandoverWriter,
    head: &HandoverHead,
    kept: &[(RawFd, DescriptorKind)],
    images: Images,
    last: impl FnOnce(),
) -> io::Error {
    let memory = match sealed_memory(&writer.finish(head)) {
        Ok(memory) => memory,
        Err(error) => return error,
    };
    // Before this image gives up anything, so that whoever looks at its memory finds one handover.
    let said = said(memory.as_raw_fd(), images.own, None);
    let execution = Execution::new(images.next, own_arguments(), environment(&said));
    let all = kept.iter().map(|(number, _)| *number);
    let all: Vec<RawFd> = all.chain([memory.as_raw_fd(), images.own]).collect();
    if let Err(error) = all_can_end() {
        return error;
    }
    last();
    wait_while_told("exec.wait");
    let error = match set_all(&all, Inheritance::Kept) {
        Ok(()) if is_told_to_fail("exec") => io::Error::other("a test said that it fails"),
        Ok(()) => execution.execute(),
        Err(error) => error,
    };
    // Those that can't be found are nobody's to inherit.
    _ = set_all(&all, Inheritance::Closed);
    error
}

/// Waits until no thread is in the kernel for what nothing interrupts, as a page that is read from the disk.
fn all_can_end() -> io::Result<()> {
    let until = Instant::now() + UNINTERRUPTIBLE_MAX;
    while let Some(name) = uninterruptible_thread() {
        if Instant::now() >= until {
            let what = "waits for a device, which nothing interrupts";
            return Err(io::Error::other(format!("the thread {name:?} {what}")));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

fn set_all(numbers: &[RawFd], inheritance: Inheritance) -> io::Result<()> {
    // Each has its turn, also behind one that fails.
    let set = numbers
        .iter()
        .map(|number| set_inheritance(*number, inheritance));
    set.fold(Ok(()), Result::and)
}
