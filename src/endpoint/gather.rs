//! An HTTP answer with several results, of which some come later.

use std::sync::{Mutex, PoisonError};

use super::json::Json;
use crate::server::{Responder, Response};

/// Ends the request once all parts are there.
#[derive(Debug)]
pub(super) struct Gather(Mutex<Parts>);

#[derive(Debug)]
struct Parts {
    responder: Option<Responder>,
    results: Vec<String>,
    left: usize,
}

impl Gather {
    /// Waits for the results that are empty.
    pub(super) fn new(responder: Responder, results: Vec<String>) -> Self {
        let left = results.iter().filter(|result| result.is_empty()).count();
        Self(Mutex::new(Parts {
            responder: Some(responder),
            results,
            left,
        }))
    }

    /// Takes a result, which isn't empty.
    pub(super) fn put(&self, place: usize, result: String) {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        parts.results[place] = result;
        parts.left -= 1;
        if parts.left == 0
            && let Some(responder) = parts.responder.take()
        {
            let results = std::mem::take(&mut parts.results);
            responder.end(Response::json(answer(results).end()));
        }
    }
}

/// The answer with all results.
pub(super) fn answer(results: Vec<String>) -> Json {
    let size: usize = results.iter().map(|result| result.len() + 1).sum();
    Json::of_size(size + 32).array("results", results)
}
