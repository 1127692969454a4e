//! Session data of a connection, by HTTP.

use serde_json::{Value, json};

use super::support::chat_client::ChatClient;
use super::support::program::Program;

#[test]
fn session_data_is_what_was_put_last_until_the_connection_has_no_user() {
    let server = Program::serve(&["--set", "bindings.sessions_size_max=5000"]);
    let ann = ChatClient::login(&server, "ann", &[]);
    let nobody = ChatClient::connect(&server);
    let path = |fd: u64| format!("/v1/connections/{fd}/session");
    let mut http = server.http();
    let own = path(ann.fd());
    let empty = json!({"fd": ann.fd(), "session": null});
    assert_eq!(http.json("GET", &own, &Value::Null), (200, empty));
    for session in [json!({"a": [1, {"b": "ä"}]}), json!({})] {
        let answer = json!({"fd": ann.fd(), "session": session});
        assert_eq!(http.json("PUT", &own, &session), (200, answer.clone()));
        assert_eq!(http.json("GET", &own, &Value::Null), (200, answer.clone()));
        let (_, user) = http.json("GET", "/v1/users/ann", &Value::Null);
        assert_eq!(user["sessions"], json!([answer]));
    }
    for bad in [json!([1]), json!("text"), json!(7)] {
        assert_eq!(http.json("PUT", &own, &bad).0, 400, "{bad}");
    }
    let large = |size: usize| json!({"a": "x".repeat(size - r#"{"a":""}"#.len())});
    assert_eq!(http.json("PUT", &own, &large(4_097)).0, 413);
    assert_eq!(http.json("PUT", &own, &large(4_096)).0, 200);
    assert_eq!(http.json("PUT", &path(nobody.fd()), &json!({})).0, 404);
    assert_eq!(http.json("GET", &path(999_999), &Value::Null).0, 404);
    let bob = ChatClient::login(&server, "bob", &[]);
    assert_eq!(http.json("PUT", &path(bob.fd()), &large(1_000)).0, 503);
    assert_eq!(http.json("PUT", &path(bob.fd()), &large(900)).0, 200);
    let user = format!("/v1/connections/{}/user", ann.fd());
    assert_eq!(http.json("DELETE", &user, &Value::Null).0, 200);
    assert_eq!(http.json("GET", &own, &Value::Null).0, 404);
    assert_eq!(http.json("PUT", &user, &json!({"uid": "ann"})).0, 200);
    assert_eq!(
        http.json("GET", &own, &Value::Null).1["session"],
        Value::Null
    );
    assert_eq!(
        http.json("PUT", &path(bob.fd()), &large(4_000)).0,
        200,
        "there is room again"
    );
    drop((ann, bob, nobody));
    server.stop();
}
