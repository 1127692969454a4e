//! What every run of the machinery has to keep, with a link that breaks at any moment.

use super::*;

/// An upstream as the protocol has it: a log and a mark, written together.
#[derive(Default)]
struct Upstream {
    mark: u64,
    log: Vec<u64>,
    is_busy: bool,
}

impl Upstream {
    fn hear(&mut self, text: &str) -> Option<String> {
        if text == "PING" {
            return Some("PONG".into());
        }
        let frame: Value = serde_json::from_str(text).unwrap();
        if frame["type"] == "open" {
            let first = frame["first"].as_u64().unwrap();
            self.mark = self.mark.max(first - 1);
            self.is_busy = false;
            return Some(json!({"type": "open_ok", "next": self.mark + 1}).to_string());
        }
        let n = frame["n"].as_u64().unwrap();
        if n > self.mark + 1 {
            assert!(self.is_busy, "{n} comes after {}", self.mark);
            return None;
        }
        self.is_busy = false;
        if n == self.mark + 1 {
            self.mark = n;
            self.log.push(frame["data"].as_u64().unwrap());
        }
        Some(ack(self.mark))
    }

    fn refuse(&mut self) -> String {
        self.is_busy = true;
        json!({"type": "pub_busy", "after_ms": 10}).to_string()
    }
}

/// A chance of `one` in so many.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

const MESSAGES: u64 = 40;

/// The gateway, the network and the upstream, a step at a time.
struct World {
    now: Tick,
    link: Link,
    upstream: Upstream,
    to_upstream: VecDeque<String>,
    to_link: VecDeque<String>,
    wanted: Option<(u64, usize)>,
    settled: u64,
    is_connected: bool,
}

impl World {
    fn new(seed: u64) -> Self {
        let settings = LinkSettings {
            on_way_max: 8,
            ..LinkSettings::default()
        };
        Self {
            now: Tick(0),
            link: Link::new(Tick(0), identity(), settings, seed, (1, MESSAGES)),
            upstream: Upstream::default(),
            to_upstream: VecDeque::new(),
            to_link: VecDeque::new(),
            wanted: None,
            settled: 0,
            is_connected: false,
        }
    }

    fn cut(&mut self) {
        self.to_upstream.clear();
        self.to_link.clear();
        self.is_connected = false;
    }

    fn note(&mut self) {
        while let Some(event) = self.link.next_event() {
            match event {
                Event::Connect => assert!(!self.is_connected),
                Event::Cut | Event::Close => self.cut(),
                Event::Want { after, count } => self.wanted = Some((after, count)),
                Event::Settled { n } => {
                    assert!(n <= self.upstream.mark, "{n} was never taken there");
                    self.settled = self.settled.max(n);
                }
                Event::Jumped { .. } | Event::Refused { .. } => panic!("{event:?}"),
                Event::Opened { .. } | Event::Lost { .. } => {}
            }
        }
        if self.link.state() == LinkState::Connecting && !self.is_connected {
            self.is_connected = true;
            self.link.connected(self.now);
        }
    }

    /// Does one of the things that may happen next.
    fn step(&mut self, dice: &mut Dice, faults: u64) {
        match dice.roll(12) {
            0..3 => self.to_upstream.extend(self.link.next_frame(self.now)),
            3..6 => {
                if let Some(text) = self.to_upstream.pop_front() {
                    self.to_link.extend(self.upstream.hear(&text));
                }
            }
            6..9 => {
                if let Some(text) = self.to_link.pop_front() {
                    self.link.receive(self.now, &text);
                }
            }
            9 => {
                if let Some((after, count)) = self.wanted.take() {
                    let last = MESSAGES.min(after + 1 + dice.roll(count as u64));
                    let page = (after + 1..=last).map(numbered).collect();
                    self.link.feed(self.now, after, page);
                }
            }
            10 => self.now = self.now.after(dice.roll(400)),
            _ if dice.roll(faults) > 0 => {}
            _ if dice.roll(2) == 0 && self.is_connected => {
                self.cut();
                self.link.lost(self.now, Lost::End);
            }
            _ => {
                let next = self
                    .to_upstream
                    .front()
                    .is_some_and(|text| text.contains("pub"));
                if next && !self.upstream.is_busy {
                    self.to_upstream.pop_front();
                    let busy = self.upstream.refuse();
                    self.to_link.push_back(busy);
                }
            }
        }
        self.link.expire(self.now);
        self.note();
    }
}

#[test]
fn every_message_arrives_once_and_in_order_whatever_breaks_when() {
    for seed in 1..=400 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let mut world = World::new(seed);
        let mut steps = 0;
        while world.settled < MESSAGES {
            // The faults end, so that the rest gets through.
            let faults = if steps < 5_000 { 3 } else { u64::MAX };
            world.step(&mut dice, faults);
            steps += 1;
            assert!(steps < 200_000, "seed {seed} hangs: {:?}", world.link);
        }
        assert!(
            world.upstream.log.iter().copied().eq(1..=MESSAGES),
            "seed {seed}"
        );
    }
}

#[test]
fn a_cut_after_any_number_of_frames_loses_and_doubles_nothing() {
    for cut_at in 0..400 {
        let mut dice = Dice(99);
        let mut world = World::new(1);
        for _ in 0..cut_at {
            world.step(&mut dice, u64::MAX);
        }
        world.cut();
        world.link.lost(world.now, Lost::End);
        world.note();
        let mut steps = 0;
        while world.settled < MESSAGES {
            world.step(&mut dice, u64::MAX);
            steps += 1;
            assert!(steps < 100_000, "cut at {cut_at}: {:?}", world.link);
        }
        assert!(
            world.upstream.log.iter().copied().eq(1..=MESSAGES),
            "cut at {cut_at}"
        );
    }
}
