//! One room, one order, one history, whichever node somebody is on.

use super::*;

#[test]
fn a_room_has_one_order_on_all_nodes() {
    let cluster = Cluster::start(2);
    let mut ann = cluster.user(0, "ann", &["tea"]);
    let mut bob = cluster.user(1, "bob", &["tea"]);
    let mut said = Vec::new();
    for number in 0..20 {
        let speaker = if number % 2 == 0 { &mut ann } else { &mut bob };
        let ok = say(speaker, json!({"room": "tea"}), json!(number));
        assert_eq!(ok["offset"], number + 1);
        said.push(ok);
    }
    for client in [&mut ann, &mut bob] {
        for (number, ok) in said.iter().enumerate() {
            let heard = message(client);
            assert_eq!(heard["data"], number);
            assert_eq!(
                (&heard["epoch"], &heard["offset"]),
                (&ok["epoch"], &ok["offset"])
            );
        }
    }
}

#[test]
fn an_id_is_known_on_all_nodes_and_the_repeat_is_heard_by_nobody() {
    let cluster = Cluster::start(2);
    let mut ann = cluster.user(0, "ann", &["tea"]);
    let mut other = cluster.user(1, "ann", &["tea"]);
    let once = json!({"type": "say", "to": {"room": "tea"}, "id": "a1", "data": 1});
    let first = ann.ok_keeping(once.clone());
    let again = other.ok_keeping(once);
    assert_eq!(
        (&again["duplicate"], &again["offset"], &again["receivers"]),
        (&json!(true), &first["offset"], &json!(0))
    );
    say(&mut ann, json!({"room": "tea"}), json!(2));
    for client in [&mut ann, &mut other] {
        assert_eq!(message(client)["data"], 1);
        assert_eq!(message(client)["data"], 2);
    }
}

#[test]
fn who_comes_back_to_another_node_gets_what_was_missed() {
    let cluster = Cluster::start(2);
    let mut ann = cluster.user(0, "ann", &["tea"]);
    let mut bob = cluster.user(1, "bob", &["tea"]);
    let first = say(&mut ann, json!({"room": "tea"}), json!(0));
    assert_eq!(message(&mut bob)["data"], 0);
    drop(bob);
    for number in 1..30 {
        say(&mut ann, json!({"room": "tea"}), json!(number));
    }
    let position = json!({"epoch": first["epoch"], "offset": first["offset"]});
    let mut bob = cluster.client(0);
    let ok = bob.ok_keeping(json!({"type": "login", "uid": "bob", "rooms": ["tea"],
        "resume": {"tea": position}}));
    assert_eq!(ok["channels"]["tea"]["recovered"], true, "{ok}");
    for number in 1..30 {
        assert_eq!(message(&mut bob)["data"], number);
    }
}

#[test]
fn history_is_the_same_on_a_node_on_which_nobody_hears_the_room() {
    let cluster = Cluster::start(2);
    let mut ann = cluster.user(0, "ann", &["tea"]);
    for number in 0..3 {
        say(&mut ann, json!({"room": "tea"}), json!(number));
    }
    let (status, here) = cluster
        .back_end(0)
        .json("GET", "/v1/rooms/tea/messages", &Value::Null);
    assert_eq!(status, 200, "{here}");
    let (status, there) = cluster
        .back_end(1)
        .json("GET", "/v1/rooms/tea/messages", &Value::Null);
    assert_eq!((status, &there), (200, &here));
    let asked = ann.ok_keeping(json!({"type": "history", "channel": "tea"}));
    assert_eq!(asked["messages"], here["messages"]);
}

#[test]
fn a_private_message_crosses_nodes_and_stands_in_both_lines() {
    let cluster = Cluster::start(2);
    let mut ann = cluster.user(0, "ann", &[]);
    let mut phone = cluster.user(1, "ann", &[]);
    let mut bob = cluster.user(1, "bob", &[]);
    let ok = say(&mut ann, json!({"user": "bob"}), json!("hi"));
    assert_eq!(ok["channel"], "@bob");
    for (client, channel) in [(&mut ann, "@ann"), (&mut phone, "@ann"), (&mut bob, "@bob")] {
        let heard = message(client);
        assert_eq!(
            (&heard["channel"], &heard["data"]),
            (&json!(channel), &json!("hi"))
        );
    }
    for line in ["ann", "bob"] {
        let path = format!("/v1/users/{line}/messages");
        let (_, page) = cluster.back_end(0).json("GET", &path, &Value::Null);
        assert_eq!(page["messages"].as_array().unwrap().len(), 1, "{page}");
    }
}

#[test]
fn what_is_not_kept_and_what_is_for_everyone_is_heard_on_all_nodes() {
    let cluster = Cluster::start(2);
    let mut ann = cluster.user(0, "ann", &["tea"]);
    let mut bob = cluster.user(1, "bob", &["tea"]);
    let mut shop = cluster.back_end(0);
    let except = json!({"to": {"room": "tea"}, "data": "brief", "store": false,
        "except": [ann.fd()]});
    let (status, answer) = shop.json("POST", "/v1/messages", &except);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(message(&mut bob)["data"], "brief");
    let (status, answer) = shop.json(
        "POST",
        "/v1/messages",
        &json!({"to": {"all": true}, "data": "all"}),
    );
    assert_eq!(status, 200, "{answer}");
    for client in [&mut ann, &mut bob] {
        assert_eq!(message(client)["data"], "all");
    }
}

#[test]
fn a_purge_by_one_node_is_told_on_all() {
    let cluster = Cluster::start(2);
    let mut ann = cluster.user(0, "ann", &["tea"]);
    let mut bob = cluster.user(1, "bob", &["tea"]);
    let first = say(&mut ann, json!({"room": "tea"}), json!(1));
    let (status, purged) =
        cluster
            .back_end(1)
            .json("DELETE", "/v1/rooms/tea/messages", &Value::Null);
    assert_eq!((status, &purged["offset"]), (200, &json!(0)), "{purged}");
    assert_ne!(purged["epoch"], first["epoch"]);
    let second = say(&mut bob, json!({"room": "tea"}), json!(2));
    assert_eq!(
        (&second["epoch"], &second["offset"]),
        (&purged["epoch"], &json!(1))
    );
    for client in [&mut ann, &mut bob] {
        assert_eq!(message(client)["data"], 1);
        let gap = client.hear();
        assert_eq!(
            (&gap["type"], &gap["epoch"]),
            (&json!("gap"), &purged["epoch"])
        );
        assert_eq!(message(client)["data"], 2);
    }
}

#[test]
fn what_was_acknowledged_on_one_node_is_known_on_the_other() {
    let cluster = Cluster::start(2);
    let mut ann = cluster.user(0, "ann", &["tea"]);
    for number in 0..5 {
        say(&mut ann, json!({"room": "tea"}), json!(number));
    }
    ann.ok(json!({"type": "ack", "channel": "tea", "offset": 3}));
    // The acknowledgement is given to the log within half a second, or when the node ends.
    crate::support::wait::until("it is in the engine", || {
        let dump = format!("{:?}", cluster.model.dump());
        dump.contains("a:tea")
    });
    let mut again = cluster.client(1);
    let ok = again.ok_keeping(json!({"type": "login", "uid": "ann", "rooms": ["tea"],
        "resume": {"tea": "acked"}}));
    assert_eq!(ok["channels"]["tea"]["recovered"], true, "{ok}");
    assert_eq!(message(&mut again)["data"], 3);
    assert_eq!(message(&mut again)["data"], 4);
}
