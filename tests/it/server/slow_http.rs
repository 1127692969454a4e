//! HTTP peers that ask and don't read, and that begin and don't finish: what they may cost.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};
use tidings::server::{Builder, CloseReason, Response, ServerSettings, Verdict};

use crate::support::http::HttpClient;
use crate::support::server::{
    LocalServer, Mode, in_every_mode, until_nothing_is_left, with_one_reactor,
};
use crate::support::wait::{next, until};
use crate::support::websocket::{Heard, WebSocketClient};

const ANSWER_SIZE: usize = 100_000;

/// More than the kernel takes for a narrow client, by far.
const REQUESTS: usize = 400;

fn settings(change: impl FnOnce(&mut ServerSettings)) -> ServerSettings {
    let mut settings = ServerSettings::default();
    settings.reactor.stall_ms_max = 60_000;
    change(&mut settings);
    settings
}

/// Answers every request with many bytes: half of them by the gate, half by the handler.
fn generous(mode: Mode) -> Builder {
    let answer = || Response::text(vec![b'x'; ANSWER_SIZE]);
    mode.builder()
        .gate(move |head, _| match head.path() {
            "/gate" => Verdict::Answer(answer()),
            _ => Verdict::Pass,
        })
        .on_request(move |_, _, responder| responder.end(answer()))
}

/// A client for whom the kernels take little.
fn narrow(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

fn ask_much(stream: &mut TcpStream) {
    let two = "GET /gate HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    stream
        .write_all(two.repeat(REQUESTS / 2).as_bytes())
        .unwrap();
}

#[test]
fn a_peer_that_asks_much_and_does_not_read_has_its_share_waiting_and_no_more() {
    in_every_mode(|mode| {
        let server = LocalServer::start(generous(mode).settings(settings(|_| {})));
        let mut stream = narrow(server.handle.addresses()[0]);
        ask_much(&mut stream);
        until("it waits", || server.stats().totals.backlogged == 1);
        let ServerSettings { reactor, .. } = ServerSettings::default();
        // What was asked while there was room.
        let under_way = reactor.connection.pipeline_requests_max * ANSWER_SIZE;
        let most = (0..50).map(|_| {
            // Every answer shows that the reactors went on in between.
            HttpClient::connect(server.handle.addresses()[0]).get("/gate");
            server.stats().outbox_bytes
        });
        let most = most.max().unwrap();
        assert!(
            most <= reactor.outbox_pause_bytes + under_way,
            "{most} bytes wait"
        );

        // When it reads at last, it gets everything.
        let mut http = HttpClient::on(stream);
        for number in 0..REQUESTS {
            let answer = http.answer().unwrap();
            assert_eq!(
                (answer.status, answer.body.len()),
                (200, ANSWER_SIZE),
                "{number}"
            );
        }
        http.get("/");
        drop(http);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn an_http_peer_that_never_reads_is_cut_for_the_stall() {
    in_every_mode(|mode| {
        let short = settings(|settings| settings.reactor.stall_ms_max = 200);
        let server = LocalServer::start(generous(mode).settings(short));
        let mut stream = narrow(server.handle.addresses()[0]);
        ask_much(&mut stream);
        until("it is cut", || server.stats().totals.slow_http_readers == 1);
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn over_the_budget_of_the_server_a_large_http_peer_goes_and_a_small_websocket_stays() {
    with_one_reactor(|mode| {
        const SMALL: usize = 4 << 20;
        const LARGE: usize = 8 << 20;
        let builder = mode
            .builder()
            .on_request(|_, _, responder| responder.end(Response::text(vec![b'x'; LARGE])));
        let tight = settings(|settings| {
            settings.reactor.outbox_bytes_max = usize::MAX;
            settings.outbox_bytes_total_max = LARGE;
        });
        let server = LocalServer::start(builder.settings(tight));
        let address = server.handle.addresses()[0];
        let mut small = WebSocketClient::connect_narrow(address, "/");
        until("it is there", || server.stats().totals.websockets == 1);
        let fd = server.handle.connections(tidings::server::Fd(0), 1)[0];
        server.handle.push(fd, &vec![0; SMALL]).unwrap();
        until("it waits", || server.stats().totals.backlogged == 1);

        let mut large = narrow(address);
        large
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        until("it is cut", || server.stats().totals.slow_http_readers == 1);
        assert!(small.hear() == Heard::Binary(vec![0; SMALL]));
        assert_eq!(server.stats().totals.slow_readers, 0);
        drop((small, large));
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn answers_that_have_no_room_in_the_outbox_count_in_the_budget_too() {
    with_one_reactor(|mode| {
        /// More than the kernel takes.
        const LARGE: usize = 8 << 20;
        let builder = mode
            .builder()
            .on_request(|_, _, responder| responder.end(Response::text(vec![b'x'; LARGE])));
        // What waits in the outboxes of both is less.
        let tight = settings(|settings| settings.outbox_bytes_total_max = 3 * LARGE);
        let server = LocalServer::start(builder.settings(tight));
        let address = server.handle.addresses()[0];
        let ask = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut few = narrow(address);
        few.write_all(ask.as_bytes()).unwrap();
        until("it waits", || server.stats().totals.backlogged == 1);
        // All of them are under way at once, so that three have no room.
        let mut many = narrow(address);
        many.write_all(ask.repeat(4).as_bytes()).unwrap();
        until("it is cut", || server.stats().totals.slow_http_readers == 1);
        let mut few = HttpClient::on(few);
        assert_eq!(few.answer().unwrap().body.len(), LARGE);
        few.get("/");
        drop((few, many));
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn over_the_budget_for_what_is_half_sent_the_largest_request_is_refused_and_the_others_go_on() {
    with_one_reactor(|mode| {
        let builder = mode
            .builder()
            .on_request(|_, request, responder| responder.end(request.body().len().to_string()));
        let tight = settings(|settings| settings.unfinished_bytes_max = 150_000);
        let server = LocalServer::start(builder.settings(tight));
        let begin = |sent: usize, size: usize| {
            let mut http = HttpClient::connect(server.handle.addresses()[0]);
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
            http.send([head.as_bytes(), &vec![b'x'; sent]].concat())
                .unwrap();
            http
        };
        let mut small = begin(20_000, 20_001);
        until("it is half read", || {
            server.stats().totals.unfinished_bytes >= 20_000
        });
        let mut large = begin(400_000, 500_000);
        let refused = large.answer().unwrap();
        assert_eq!((refused.status, refused.closes), (503, true));
        assert!(refused.body.contains("unavailable"), "{}", refused.body);
        small.send("x").unwrap();
        assert_eq!(small.answer().unwrap().body, "20001");
        let totals = server.stats().totals;
        assert_eq!((totals.unfinished_refused, totals.unfinished_bytes), (1, 0));
        drop((small, large));
        until_nothing_is_left(&server.handle);
    });
}

#[test]
fn over_the_budget_for_what_is_half_sent_the_largest_message_is_refused_with_1013() {
    with_one_reactor(|mode| {
        let (sender, closes) = std::sync::mpsc::channel();
        let builder = mode
            .builder()
            .on_message(|server, frame| {
                server.push(frame.fd, frame).ok();
            })
            .on_close(move |_, _, reason| sender.send(reason.clone()).unwrap());
        let tight = settings(|settings| settings.unfinished_bytes_max = 30_000);
        let server = LocalServer::start(builder.settings(tight));
        let mut client = WebSocketClient::join(&server.handle);
        let mut other = WebSocketClient::join(&server.handle);
        let whole = crate::support::frame::frame(0x82, &[7; 50_000]);
        client.pour(&whole[..40_000]);
        assert_eq!(client.hear(), Heard::Close(1013));
        assert_eq!(next(&closes), CloseReason::Server(1013));
        other.echo("the others go on");
        drop((client, other));
        until_nothing_is_left(&server.handle);
        assert_eq!(server.stats().totals.unfinished_bytes, 0);
    });
}

#[test]
fn a_body_that_comes_too_slowly_is_refused_though_it_never_stops() {
    in_every_mode(|mode| {
        let slow = settings(|settings| settings.reactor.connection.body_ms_max = 300);
        let server = LocalServer::start(mode.builder().settings(slow));
        let mut http = HttpClient::connect(server.handle.addresses()[0]);
        http.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
            .unwrap();
        let began = server.stats().uptime_ms;
        let bytes_in = || server.stats().totals.bytes_in;
        while server.stats().uptime_ms < began + 5_000 {
            let before = bytes_in();
            if http.send("x").is_err() {
                break;
            }
            if http.has_answer() {
                break;
            }
            until("it is read", || bytes_in() > before || http.has_answer());
        }
        assert_eq!(http.answer().unwrap().status, 408);
    });
}

#[test]
fn the_gate_gives_a_path_its_own_largest_message() {
    in_every_mode(|mode| {
        let small = settings(|settings| settings.reactor.connection.message_size_max = 1_000);
        let builder = mode
            .builder()
            .gate(|head, _| match head.path() {
                "/large" => Verdict::PassWith {
                    message_size_max: 2_000,
                },
                _ => Verdict::Pass,
            })
            .on_message(|server, frame| {
                server.push(frame.fd, frame).ok();
            });
        let server = LocalServer::start(builder.settings(small));
        let address = server.handle.addresses()[0];
        let mut large = WebSocketClient::connect(address, "/large");
        large.echo(&"x".repeat(2_000));
        large.say("x".repeat(2_001));
        assert_eq!(large.hear(), Heard::Close(1009));
        let mut usual = WebSocketClient::connect(address, "/");
        usual.echo(&"x".repeat(1_000));
        usual.say("x".repeat(1_001));
        assert_eq!(usual.hear(), Heard::Close(1009));
    });
}
