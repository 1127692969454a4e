use super::frame::Violation;
use super::frame::{LinkFrame, read};
use super::intake::{Intake, LinkJudgement, Opened};
use super::*;

const PUB_BUSY: &str = r#"{"type":"pub_busy","after_ms":500}"#;

const BUSY: Result<(), LinkRefusal> = Err(LinkRefusal::Busy { after_ms: 500 });

fn open(first: u64, mark: u64) -> Intake {
    let mut intake = Intake::default();
    intake.open("p".into(), first, mark).unwrap();
    intake
}

fn judge(intake: &mut Intake, n: u64) -> LinkJudgement {
    let (judged, sequenced) = intake.judge(n).unwrap();
    assert_eq!((&*sequenced.producer, sequenced.n), ("p", n));
    judged
}

#[test]
fn a_link_goes_on_where_the_mark_is() {
    for (first, mark, next, has_jumped) in [
        (1, 0, 1, false),
        (5, 7, 8, false),
        (8, 7, 8, false),
        (9, 7, 9, true),
        (9, 0, 9, true),
    ] {
        let opened = Intake::default().open("p".into(), first, mark);
        assert_eq!(opened, Ok(Opened { next, has_jumped }), "{first} {mark}");
    }
}

#[test]
fn numbers_are_let_in_one_behind_the_other_and_told_once_durable() {
    let mut intake = open(1, 4);
    assert_eq!(judge(&mut intake, 5), LinkJudgement::Take);
    assert_eq!(judge(&mut intake, 6), LinkJudgement::Take);
    assert_eq!(
        judge(&mut intake, 5),
        LinkJudgement::Drop,
        "it is on its way"
    );
    assert_eq!(judge(&mut intake, 3), LinkJudgement::Settled { mark: 4 });
    assert_eq!(intake.done(5, Ok(())), [r#"{"type":"pub_ack","n":5}"#]);
    let refused = intake.done(6, Err(LinkRefusal::Final(ErrorCode::BadRequest)));
    assert_eq!(
        refused,
        [r#"{"type":"pub_err","n":6,"code":"bad_request"}"#]
    );
    assert_eq!(
        judge(&mut intake, 6),
        LinkJudgement::Settled { mark: 6 },
        "both settle"
    );
}

#[test]
fn a_hole_is_the_gateways_mistake() {
    let mut intake = open(1, 4);
    assert!(intake.judge(6).is_err());
    assert_eq!(
        judge(&mut intake, 5),
        LinkJudgement::Take,
        "and nothing has changed"
    );
}

#[test]
fn what_stands_behind_a_number_without_room_is_dropped_until_that_comes_again() {
    let mut intake = open(1, 0);
    for n in 1..=4 {
        assert_eq!(judge(&mut intake, n), LinkJudgement::Take);
    }
    assert_eq!(intake.done(1, Ok(())).len(), 1);
    assert_eq!(intake.done(2, BUSY), [PUB_BUSY]);
    assert!(intake.done(3, BUSY).is_empty(), "said once");
    assert_eq!(
        judge(&mut intake, 5),
        LinkJudgement::Drop,
        "it was on the way"
    );
    assert!(intake.done(4, BUSY).is_empty());
    for n in 2..=4 {
        assert_eq!(
            judge(&mut intake, n),
            LinkJudgement::Take,
            "{n} comes again"
        );
        assert!(intake.done(n, Ok(()))[0].contains("pub_ack"));
    }
    assert!(
        intake.judge(6).is_err(),
        "5 was dropped, and has to come again"
    );
}

#[test]
fn nothing_passes_a_number_whose_refusal_comes_after_that_of_a_later_one() {
    let mut intake = open(1, 0);
    for n in 1..=3 {
        assert_eq!(judge(&mut intake, n), LinkJudgement::Take);
    }
    // On the worker, before the disk thread told what became of the second one.
    assert!(intake.done(3, BUSY).is_empty(), "1 and 2 aren't settled");
    for n in 1..=3 {
        assert_eq!(
            judge(&mut intake, n),
            LinkJudgement::Drop,
            "{n} comes too early"
        );
    }
    assert_eq!(intake.done(1, Ok(())).len(), 1);
    assert_eq!(intake.done(2, BUSY), [PUB_BUSY]);
    assert_eq!(judge(&mut intake, 3), LinkJudgement::Drop);
    for n in 2..=3 {
        assert_eq!(judge(&mut intake, n), LinkJudgement::Take);
        assert_eq!(intake.done(n, Ok(())).len(), 1);
    }
}

#[test]
fn a_number_without_room_is_told_once_those_before_it_are_settled() {
    let mut intake = open(1, 0);
    for n in 1..=2 {
        assert_eq!(judge(&mut intake, n), LinkJudgement::Take);
    }
    assert!(intake.done(2, BUSY).is_empty());
    let told = intake.done(1, Ok(()));
    assert_eq!(told, [r#"{"type":"pub_ack","n":1}"#, PUB_BUSY]);
    assert_eq!(judge(&mut intake, 2), LinkJudgement::Take);
}

#[test]
fn a_number_that_comes_again_begins_a_new_stretch() {
    let mut intake = open(1, 0);
    let attempt = |intake: &mut Intake, n| intake.judge(n).unwrap().1.attempt;
    let (first, second) = (attempt(&mut intake, 1), attempt(&mut intake, 2));
    first.break_off();
    assert!(second.is_broken(), "2 stands behind 1");
    intake.done(1, BUSY);
    assert!(attempt(&mut intake, 3).is_broken(), "so does 3");
    assert!(!attempt(&mut intake, 1).is_broken());
    assert!(!attempt(&mut intake, 2).is_broken());
}

#[test]
fn a_second_open_and_a_message_before_it_are_mistakes() {
    let mut intake = Intake::default();
    assert!(intake.judge(1).is_err());
    intake.open("p".into(), 1, 0).unwrap();
    assert!(intake.open("p".into(), 1, 0).is_err());
}

#[test]
fn a_replaced_link_lets_nothing_in_and_says_nothing() {
    let mut intake = open(1, 0);
    judge(&mut intake, 1);
    intake.end();
    assert!(intake.done(1, Ok(())).is_empty());
    assert!(intake.judge(2).is_err());
}

#[test]
fn frames_of_a_gateway_are_read() {
    let frame = r#"{"type":"open","producer":"p","name":"gw","first":3}"#;
    let open = LinkFrame::Open {
        producer: "p".into(),
        name: "gw".into(),
        first: 3,
    };
    assert_eq!(read(frame), Ok(open));
    let frame =
        r#"{"type":"pub","n":7,"to":{"rooms":["a"]},"data":{"x": 1.0},"id":"i","from":"ann"}"#;
    let Ok(LinkFrame::Pub { n: 7, posting }) = read(frame) else {
        panic!("{:?}", read(frame))
    };
    let posting = posting.unwrap();
    assert_eq!((posting.data, posting.store), (r#"{"x": 1.0}"#, true));
    assert_eq!(
        (posting.id.unwrap(), posting.from.unwrap()),
        ("i".into(), "ann".into())
    );
}

#[test]
fn a_message_that_is_none_is_refused_under_its_number_and_other_frames_are_mistakes() {
    for wrong in [
        r#"{"type":"pub","n":7,"to":{"room":1},"data":1,"id":"i"}"#,
        r#"{"type":"pub","n":7,"data":1,"id":"i"}"#,
        r#"{"type":"pub","n":7,"to":{"room":"a"},"id":"i"}"#,
        r#"{"type":"pub","n":7,"to":{"room":"a"},"data":1}"#,
    ] {
        assert!(
            matches!(
                read(wrong),
                Ok(LinkFrame::Pub {
                    n: 7,
                    posting: Err(_)
                })
            ),
            "{wrong}"
        );
    }
    for wrong in [
        "",
        "[]",
        "{}",
        r#"{"type":"say"}"#,
        r#"{"type":"pub","n":0,"to":{"room":"a"},"data":1,"id":"i"}"#,
        r#"{"type":"pub","to":{"room":"a"},"data":1,"id":"i"}"#,
        r#"{"type":"open","producer":"","name":"gw","first":1}"#,
        r#"{"type":"open","producer":"p","name":"gw"}"#,
        r#"{"type":"open","producer":"p","name":"gw","first":0}"#,
    ] {
        assert!(matches!(read(wrong), Err(Violation(_))), "{wrong}");
    }
}
