//! The model and the scripts are one thing told twice.

use super::history::run;
use super::support::number_in_env;
use super::world::redis;

#[test]
fn the_model_and_the_scripts_answer_alike_leave_the_same_keys_and_send_the_same_frames() {
    let Some(redis) = redis(&["--appendonly", "no"]) else {
        return;
    };
    let histories = number_in_env("TIDINGS_ENGINE").unwrap_or(250);
    let first = number_in_env("TIDINGS_ENGINE_FROM").unwrap_or(0);
    for seed in first..first + histories {
        run(&redis, seed);
    }
}
