//! A stop with tasks under way.
//!
//! The server runs its own program again as the task process, with the same arguments; so the test
//! runs in a process whose arguments name this test alone, and the task process gets here by it.

use std::sync::mpsc::channel;
use std::thread::current;

use tidings::server::{ServerOutcome, process};

use crate::support::alone::{part, passes_alone};
use crate::support::server::Mode;

#[test]
fn tasks_that_were_taken_are_finished_before_the_workers_end() {
    const NAME: &str = "tasks_that_were_taken_are_finished_before_the_workers_end";
    const TASKS: usize = 50;
    if part().is_none() {
        return passes_alone(module_path!(), NAME, "server");
    }
    for workers in [0, 2] {
        let (sender, events) = channel();
        let (finish, stop) = (sender.clone(), sender);
        let mode = Mode {
            workers,
            reactors: 1,
        };
        let builder = mode
            .builder()
            .on_task(|task| task.repeat(2))
            .on_finish(move |_, _, outcome| {
                let process::TaskOutcome::Done(result) = outcome else {
                    panic!("{outcome:?}");
                };
                finish.send((current().id(), Some(result))).unwrap();
            })
            .on_worker_stop(move |_, _| stop.send((current().id(), None)).unwrap());
        let running = builder.start().unwrap();
        for number in 0..TASKS {
            running.handle().task(format!("{number};")).unwrap();
        }
        assert_eq!(running.stop().unwrap(), ServerOutcome::default());
        let (mut results, mut ended) = (Vec::new(), Vec::new());
        for (thread, result) in events.try_iter() {
            assert!(!ended.contains(&thread), "its worker had ended");
            match result {
                Some(result) => results.push(result),
                None => ended.push(thread),
            }
        }
        results.sort();
        let mut expected: Vec<_> = (0..TASKS)
            .map(|number| format!("{number};{number};"))
            .collect();
        expected.sort();
        assert_eq!(results, expected);
        assert_eq!(ended.len(), workers.max(1));
    }
}
