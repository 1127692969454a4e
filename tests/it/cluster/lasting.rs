//! Lasting memberships hold on all nodes.

use super::*;

#[test]
fn a_membership_that_begins_by_one_node_lets_the_user_in_on_another_and_at_each_login() {
    let cluster = Cluster::start(2);
    let mut ann = cluster.user(0, "ann", &[]);
    let mut shop = cluster.back_end(1);
    let (status, added) = shop.json("PUT", "/v1/rooms/team/members/ann", &Value::Null);
    assert_eq!(status, 200, "{added}");
    let rooms_of = |node: usize, fd: u64| {
        let path = format!("/v1/connections/{fd}");
        let (_, view) = cluster.back_end(node).json("GET", &path, &Value::Null);
        view["rooms"].clone()
    };
    let fd = ann.fd();
    crate::support::wait::until("ann is in the room", || rooms_of(0, fd) == json!(["team"]));
    let mut bob = cluster.user(1, "bob", &["team"]);
    say(&mut bob, json!({"room": "team"}), json!("there?"));
    assert_eq!(message(&mut ann)["data"], "there?");
    let mut phone = cluster.client(1);
    let ok = phone.ok_keeping(json!({"type": "login", "uid": "ann"}));
    assert!(ok["channels"]["team"].is_object(), "{ok}");
    let (status, removed) = shop.json("DELETE", "/v1/rooms/team/members/ann", &Value::Null);
    assert_eq!(status, 200, "{removed}");
    for (node, fd) in [(0, fd), (1, phone.fd())] {
        crate::support::wait::until("ann has left", || rooms_of(node, fd) == json!([]));
    }
}
