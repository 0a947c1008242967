//! Fields of a body: missing, invalid, repeated and unknown ones; trimming; passwords as sent.

use poem_password_reset::{PasswordPolicy, PasswordResetBuilder, Strength};

use crate::http::Operation::{Confirm, Request, Validate};
use crate::http::doubles::GOOD_PASSWORD;
use crate::http::{Encoding, HttpRequest, Operation, defaults, over_both_transports};

/// The response is the same in each encoding and lists all invalid fields.
#[tokio::test]
async fn fields_missing_blank_or_with_nul_return_400() {
    let invalid = ["", " ", "\t\r\n ", "\u{a0}\u{2003}", "a\0b", "\0", "ann@example.com\0"];
    over_both_transports(defaults, async |world| {
        for (operation, names) in fields_of_all() {
            world.post(operation, &[]).await.is_faulty(names);
            world.post(operation, &[("unknown", "a")]).await.is_faulty(names);
            for value in invalid {
                let fields: Vec<_> = names.iter().map(|name| (*name, value)).collect();
                world.post(operation, &fields).await.is_faulty(names);
            }
        }
        let good = ("password", GOOD_PASSWORD);
        for value in invalid {
            world.post(Confirm, &[("token", "bad"), ("password", value)]).await.is_faulty(&["password"]);
            world.post(Confirm, &[("token", value), good]).await.is_faulty(&["token"]);
        }
        world.post(Confirm, &[("token", "bad")]).await.is_faulty(&["password"]);
        world.post(Confirm, &[good]).await.is_faulty(&["token"]);
        assert_eq!((world.calls.all(), world.reset.ledger().accepted), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn json_values_other_than_text_return_400() {
    let not_text =
        ["null", "true", "false", "[]", "{}", r#"["ann@example.com"]"#, r#"{"a":"ann@example.com"}"#, r#""\ud800""#];
    let numbers = ["0", "-1", "12345678", "1e5", "1.50", "99999999999999999999"];
    over_both_transports(defaults, async |world| {
        for (operation, names) in fields_of_all() {
            for value in not_text {
                let members: Vec<_> = names.iter().map(|name| format!(r#""{name}":{value}"#)).collect();
                world.post_json(operation, &format!("{{{}}}", members.join(","))).await.is_faulty(names);
            }
        }
        for number in numbers {
            world.post_json(Request, &format!(r#"{{"email":{number}}}"#)).await.is_faulty(&["email"]);
            world.post_json(Validate, &format!(r#"{{"token":{number}}}"#)).await.is_bad_token();
            let both = format!(r#"{{"token":{number},"password":{number}}}"#);
            world.post_json(Confirm, &both).await.is_bad_token();
        }
        assert_eq!((world.calls.all(), world.reset.ledger().accepted), (0, 0));
    })
    .await;
}

/// The password is the text of the JSON number, digit by digit.
#[tokio::test]
async fn number_as_password_is_used_as_written() {
    over_both_transports(defaults, async |world| {
        let confirm = |number: &str| {
            HttpRequest::post(Confirm).json(format!(r#"{{"token":"{}","password":{number}}}"#, world.token("1")))
        };
        world.send(&confirm("83649107265518")).await.is_faulty(&["password"]);
        for number in ["-83649107265518.50", "8.3649107265518E+30"] {
            world.send(&confirm(number)).await.is_ok();
            assert!(world.has_password("1", number), "{number}");
        }
    })
    .await;
}

#[tokio::test]
async fn malformed_email_returns_400() {
    let longest = "a".repeat(242) + "@example.com";
    let too_long = "a".repeat(243) + "@example.com";
    over_both_transports(defaults, async |world| {
        for email in [
            "ann",
            "@",
            "ann@example",
            "ann@@example.com",
            "ann@example.com,bob@example.com",
            "ann@example.com bob@example.com",
            "Ann <ann@example.com>",
            "ann@example.com\r\nBcc: bob@example.com",
            "\"ann\"@example.com",
            "ann@[127.0.0.1]",
            "änn@example.com",
            "\u{ad}ann@example.com",
            too_long.as_str(),
        ] {
            world.post(Request, &[("email", email)]).await.is_faulty(&["email"]);
        }
        assert_eq!((world.calls.all(), world.reset.ledger().accepted), (0, 0));
        for email in ["ann@example.com", "nobody@example.com", "ann@bücher.example", longest.as_str()] {
            world.post(Request, &[("email", email)]).await.is_ok();
        }
    })
    .await;
}

/// A weak password does not use up the token.
#[tokio::test]
async fn field_errors_precede_bad_token_and_bad_token_precedes_weak_password() {
    over_both_transports(defaults, async |world| {
        let token = world.token("1");
        for (token, password, answer) in [
            ("bad", "", "password"),
            ("bad", "short", "404"),
            ("bad", GOOD_PASSWORD, "404"),
            ("", "short", "token"),
            ("", "", "token password"),
            (&token, "", "password"),
            (&token, "short", "password"),
            (&token, "12345678901", "password"),
            (&token, "ann@example.com", "password"),
            (&token, "password1", "password"),
        ] {
            let reply = world.post(Confirm, &[("token", token), ("password", password)]).await;
            match answer {
                "404" => reply.is_bad_token(),
                fields => reply.is_faulty(&fields.split(' ').collect::<Vec<_>>()),
            }
        }
        // A password over the upper limit is rejected before the token is read, at no cost and without revealing anything.
        let too_long = "purple tractor ".repeat(30);
        let [bad, good] = ["bad", &token].map(|token| [("token", token), ("password", too_long.as_str())]);
        let calls = world.calls.all();
        let reply = world.post(Confirm, &bad).await;
        reply.is_faulty(&["password"]);
        assert_eq!(world.post(Confirm, &good).await, reply);
        assert_eq!(world.calls.all(), calls);

        // The response lists every failed rule.
        let weak = world.post(Confirm, &[("token", &token), ("password", "1234")]).await;
        assert!(weak.json()["password"].as_array().is_some_and(|reasons| reasons.len() == 3), "{}", weak.body);

        world.post(Validate, &[("token", &token)]).await.is_ok();
        assert!(world.has_password("1", "ann's old password"));
        world.send(&confirm(&token, GOOD_PASSWORD)).await.is_ok();
        assert!(world.has_password("1", GOOD_PASSWORD));
    })
    .await;
}

#[tokio::test]
async fn success_response_is_the_same_for_every_address() {
    over_both_transports(defaults, async |world| {
        let known = world.post(Request, &[("email", "ann@example.com")]).await;
        for email in
            ["ann@example.com", "ANN@Example.com", "nobody@example.com", "carol@example.com", "dave@example.com"]
        {
            let reply = world.post(Request, &[("email", email)]).await;
            reply.is_ok();
            assert_eq!(reply, known, "{email}");
        }
        world.post(Validate, &[("token", &world.token("1"))]).await.is_ok();
        for reply in
            world.post_each(Confirm, || [("token", world.token("1")), ("password", GOOD_PASSWORD.into())].into()).await
        {
            reply.is_ok();
        }
    })
    .await;
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    over_both_transports(defaults, async |world| {
        let unknown = [
            ("redirect", "https://elsewhere.example"),
            ("url", "https://elsewhere.example"),
            ("host", "elsewhere.example"),
            ("is_admin", "true"),
            ("username", "bob"),
            ("user", "2"),
            ("Email", "bob@example.com"),
            ("email[]", "bob@example.com"),
            ("email ", "bob@example.com"),
            ("", "bob@example.com"),
            ("__proto__", "1"),
            // Browsers send control characters in names unescaped.
            ("na\u{1e}me\0\u{7f}", "bob@example.com"),
        ];
        let with = |fields: &[(&'static str, String)]| {
            let unknown = unknown.map(|(name, value)| (name, value.to_owned()));
            [&unknown[..5], fields, &unknown[5..]].concat()
        };
        let request = || with(&[("email", "ann@example.com".to_owned())]);
        let validate = || with(&[("token", world.token("1"))]);
        let confirm = || with(&[("token", world.token("1")), ("password", GOOD_PASSWORD.to_owned())]);
        for replies in [
            world.post_each(Request, request).await,
            world.post_each(Validate, validate).await,
            world.post_each(Confirm, confirm).await,
        ] {
            replies.iter().for_each(crate::http::Reply::is_ok);
        }
        assert!(world.has_password("2", "bob's old password"));

        // Unknown members may be nested and repeated.
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        let body = format!(r#"{{"a":{deep},"a":{{"email":"b"}},"email":"ann@example.com","c":1e999,"d":"\ud800"}}"#);
        world.post_json(Request, &body).await.is_ok();
        world.post_json(Request, r#"{"a":{"email":"ann@example.com"}}"#).await.is_faulty(&["email"]);

        world.every_mail_is_anns().await;
    })
    .await;
}

#[tokio::test]
async fn query_strings_are_ignored() {
    over_both_transports(defaults, async |world| {
        let queries = ["?email=ann@example.com&token=a&password=b", "?", "?%", "?token", "?email=no+address"];
        for query in queries {
            for (operation, names) in fields_of_all() {
                let url = operation.url() + query;
                world.send(&HttpRequest::new("POST", &url).json("{}")).await.is_faulty(names);
            }
            let good = HttpRequest::new("POST", Request.url() + query).json(r#"{"email":"ann@example.com"}"#);
            world.send(&good).await.is_ok();
        }
    })
    .await;
}

/// A fixed rule matters because a filter in front of the library must read the same value.
#[tokio::test]
async fn last_of_several_fields_with_the_same_name_wins() {
    over_both_transports(defaults, async |world| {
        world.post(Request, &[("email", "no address"), ("email", "ann@example.com")]).await.is_ok();
        world.post(Request, &[("email", "ann@example.com"), ("email", "no address")]).await.is_faulty(&["email"]);
        world.post(Request, &[("email", "ann@example.com"), ("email", "")]).await.is_faulty(&["email"]);
        let token = world.token("1");
        world.post(Validate, &[("token", "bad"), ("token", &token)]).await.is_ok();
        world.post(Validate, &[("token", &token), ("token", "bad")]).await.is_bad_token();
        world.post_json(Request, r#"{"email":null,"email":[],"email":"ann@example.com"}"#).await.is_ok();
        world.post_json(Request, r#"{"email":"ann@example.com","email":null}"#).await.is_faulty(&["email"]);
        world.post_json(Request, r#"{"email":"ann@example.com","\u0065mail":""}"#).await.is_faulty(&["email"]);
        let twice = [("password", "short"), ("token", "bad"), ("password", GOOD_PASSWORD), ("token", &token)];
        world.send(&HttpRequest::post(Confirm).fields(Encoding::Json, &twice)).await.is_ok();
        assert!(world.has_password("1", GOOD_PASSWORD));
    })
    .await;
}

#[tokio::test]
async fn white_space_around_email_and_token_is_removed() {
    over_both_transports(defaults, async |world| {
        for (before, after) in [
            (" ", ""),
            ("", "\n"),
            ("\t \r\n", " \x0c\t"),
            ("\u{a0}", "\u{200b}"),
            ("\u{2003}\u{feff}", "\u{200c}\u{200d}\u{2060} \u{3000}"),
        ] {
            let around = |text: &str| format!("{before}{text}{after}");
            world.post(Request, &[("email", &around("ann@example.com"))]).await.is_ok();
            world.post(Validate, &[("token", &around(&world.token("1")))]).await.is_ok();
            world.send(&confirm(&around(&world.token("1")), GOOD_PASSWORD)).await.is_ok();
        }
        // Other invisible characters are kept, and nothing is removed from within the text.
        let token = world.token("1");
        let (head, tail) = token.split_at(20);
        for spaced in [
            format!("{token}\u{ad}"),
            format!("\u{202e}{token}"),
            format!("{head} {tail}"),
            format!("{head}\u{200b}{tail}"),
        ] {
            world.post(Validate, &[("token", &spaced)]).await.is_bad_token();
        }
        for inside in ["ann @example.com", "ann\u{200b}@example.com", "ann@\u{a0}example.com", "\u{ad}ann@example.com"]
        {
            world.post(Request, &[("email", inside)]).await.is_faulty(&["email"]);
        }
        for blank in ["\u{200b}", " \u{feff}\u{a0}\n"] {
            world.post(Request, &[("email", blank)]).await.is_faulty(&["email"]);
            world.post(Validate, &[("token", blank)]).await.is_faulty(&["token"]);
            world.send(&confirm(blank, GOOD_PASSWORD)).await.is_faulty(&["token"]);
        }
    })
    .await;
}

/// Passwords are never trimmed, truncated or normalized.
#[tokio::test]
async fn password_is_stored_exactly_as_sent() {
    let long = "ä purple tractor ".repeat(10);
    let passwords = [
        "  purple tractor  ",
        "\tpurple tractor hums\r\n",
        "\u{a0}purple tractor\u{2003}",
        "Pürple träctor",
        "Pu\u{308}rple tra\u{308}ctor",
        "紫のトラクターが夜明けに唸る",
        "🚜🌅 hums %41 + & = \" \\ / <b>",
        "purple\u{7f}\u{1}tractor\u{200b}hums",
        long.as_str(),
    ];
    over_both_transports(defaults, async |world| {
        for password in passwords {
            for encoding in Encoding::ALL {
                let fields = [("token", &*world.token("1")), ("password", password)];
                world.send(&HttpRequest::post(Confirm).fields(encoding, &fields)).await.is_ok();
                assert!(world.has_password("1", password), "{encoding:?} {password:?}");
            }
        }
    })
    .await;
}

/// The default is 8 to 256 code points, neither bytes nor grapheme clusters.
#[tokio::test]
async fn password_length_is_counted_in_code_points() {
    let lax = |builder: PasswordResetBuilder| builder.policy(PasswordPolicy::default().strength(Strength::Any));
    over_both_transports(lax, async |world| {
        for piece in ["x", "é", "e\u{301}", "字", "🚜"] {
            for (points, fits) in
                [(7, false), (8, true), (9, true), (255, true), (256, true), (257, false), (1000, false)]
            {
                let password: String = piece.chars().cycle().take(points).collect();
                let reply = world.send(&confirm(&world.token("1"), &password)).await;
                if fits {
                    reply.is_ok()
                } else {
                    reply.is_faulty(&["password"])
                }
                assert_eq!(world.has_password("1", &password), fits, "{points} times {piece}");
            }
        }
    })
    .await;
}

/// The policy requires and forbids no class of characters, but a password of digits only is rejected.
#[tokio::test]
async fn password_may_contain_any_character_but_not_digits_only() {
    let lax = |builder: PasswordResetBuilder| builder.policy(PasswordPolicy::default().strength(Strength::Any));
    over_both_transports(lax, async |world| {
        let all: String = (' '..='~').collect();
        for password in
            [&all, "        x", "aaaaaaaa", "!!!!!!!!", "1234567a", "þorgerður", "\u{10ffff}\u{1}\u{7f}\u{feff}....."]
        {
            for encoding in Encoding::ALL {
                let fields = [("token", &*world.token("1")), ("password", password)];
                world.send(&HttpRequest::post(Confirm).fields(encoding, &fields)).await.is_ok();
                assert!(world.has_password("1", password), "{encoding:?} {password:?}");
            }
        }
        for digits in ["12345678", "٠١٢٣٤٥٦٧"] {
            world.post(Confirm, &[("token", &world.token("1")), ("password", digits)]).await.is_faulty(&["password"]);
        }
    })
    .await;
}

/// Replacing the invalid bytes would store a password other than the one sent.
#[tokio::test]
async fn values_that_are_not_utf8_are_rejected() {
    over_both_transports(defaults, async |world| {
        let multipart = |password: &[u8]| {
            let head = format!(
                "--x\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n{}\r\n\
                 --x\r\nContent-Disposition: form-data; name=\"password\"\r\n\r\n",
                world.token("1")
            );
            [head.as_bytes(), password, b"\r\n--x--\r\n"].concat()
        };
        let urlencoded = |password: &str| format!("token={}&password={password}", world.token("1"));
        for (content_type, body) in [
            ("application/x-www-form-urlencoded", urlencoded("purple%FFtractor").into_bytes()),
            ("application/x-www-form-urlencoded", [urlencoded("purple").as_bytes(), b"\xfftractor"].concat()),
            ("multipart/form-data; boundary=x", multipart(b"purple\xfftractor")),
        ] {
            world.send(&HttpRequest::post(Confirm).body(content_type, body)).await.is_faulty(&["password"]);
        }
        world.send(&HttpRequest::post(Confirm).json(b"{\"password\":\"purple\xfftractor\"}")).await.is_parse_error();

        // A file is not text either.
        let file =
            "--x\r\nContent-Disposition: form-data; name=\"email\"; filename=\"a\"\r\n\r\nann@example.com\r\n--x--";
        world
            .send(&HttpRequest::post(Request).body("multipart/form-data; boundary=x", file))
            .await
            .is_faulty(&["email"]);
    })
    .await;
}

fn confirm(token: &str, password: &str) -> HttpRequest {
    HttpRequest::post(Confirm).fields(Encoding::Json, &[("token", token), ("password", password)])
}

/// Returns each operation with the names of its fields.
fn fields_of_all() -> [(Operation, &'static [&'static str]); 3] {
    [(Request, &["email"]), (Validate, &["token"]), (Confirm, &["token", "password"])]
}
