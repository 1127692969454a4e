//! What an HTTP connection keeps between two requests.

use super::*;
use crate::proto::connection::Limits;

#[test]
fn an_idle_http_connection_owns_no_buffer() {
    let rules = Rules {
        now: Tick(0),
        limits: &Limits::default(),
        gate: &|_| Verdict::Pass,
        date: "",
        drain: None,
        room: Some(usize::MAX),
        is_secure: false,
    };
    let mut side = HttpSide::new(rules.now);
    for part in [
        "GET / HTTP/1.1\r\n",
        "Host: a\r\n\r\nGET / HT",
        "TP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let mut bytes = part.as_bytes().to_vec();
        let mut inflater = Inflater::new();
        let mut input = Input::new(&mut bytes, &mut inflater);
        while let Some(step) = side.step(&rules, &mut input) {
            if let HttpStep::Event(ConnectionEvent::Request(request)) = step {
                side.answer(request.serial, Response::new(200));
            }
        }
    }
    assert_eq!((side.rest.capacity(), side.unanswered()), (0, 0));
    assert!(size_of::<HttpSide>() <= 368, "{}", size_of::<HttpSide>());
}
