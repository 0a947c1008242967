//! No log line at TRACE, of any crate, contains a token, password, hash, key or full email address, even when parts
//! fail. Nor does any `Debug`, `Display` or error.

#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/doubles.rs"]
mod doubles;
#[allow(dead_code, reason = "shared by several tests, none of which needs all of it")]
#[path = "support/log.rs"]
mod log;

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use doubles::{GOOD_PASSWORD, KEY, Watched, builder, cheap_hash, key, people};
use log::Log;
use poem::EndpointExt as _;
use poem::test::TestClient;
use poem_openapi::OpenApiService;
use poem_password_reset::{
    BoxError, Client, HttpContract, KeyRing, NewPassword, PasswordHash, PasswordPolicy, PostPasswordReset,
    PrePasswordReset, ResetApi, ResetError, ResetTokenCreated, StoredUser, Swap, TokenCodec, UserStore, Veto,
};
use time::OffsetDateTime;

/// Asserts that `text` contains no secret, neither plain nor in a common encoding.
fn assert_contains_none(text: &str, secrets: &[(&str, String)]) {
    for (name, secret) in secrets {
        let percent: String = secret.bytes().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "%{byte:02X}");
            text
        });
        for form in [
            secret.clone(),
            secret.to_uppercase(),
            secret.replace('@', "%40"),
            secret.replace(' ', "+"),
            percent,
            BASE64_STANDARD.encode(secret),
            BASE64_STANDARD_NO_PAD.encode(secret),
            BASE64_URL_SAFE_NO_PAD.encode(secret),
            format!("{:?}", secret.as_bytes()).trim_matches(['[', ']']).to_owned(),
        ] {
            assert!(!text.contains(&form), "the text contains {name}, as {form:?}");
        }
    }
}

#[tokio::test]
async fn no_secret_is_logged_in_a_whole_flow() {
    let log = Log::of_process();
    let users = people();
    let events: Arc<Mutex<Vec<Arc<ResetTokenCreated>>>> = Arc::default();
    let keep = Arc::clone(&events);
    let failing = Arc::new(AtomicUsize::new(0));
    let fails = Arc::clone(&failing);
    let store = Watched {
        users: users.clone(),
        calls: Arc::default(),
        before: move |_| {
            let fails = fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            async move { if fails { Err(BoxError::from("the store is down")) } else { Ok(()) } }
        },
    };
    let reset = builder(store)
        .on_reset_token_created(move |event: Arc<ResetTokenCreated>| {
            keep.lock().unwrap().push(Arc::clone(&event));
            // An error as a mail library might word it, with all that it was given.
            async move {
                let text = format!("550 <{}> does not want {}", event.user().email(), event.link());
                Err::<(), BoxError>(text.into())
            }
        })
        .on_pre_password_reset(|event: Arc<PrePasswordReset>| async move {
            match event.client().user_agent() {
                Some("vetoed") => Err(Veto::new(format!("Not for {}.", event.user().email()))),
                _ => Ok(()),
            }
        })
        .on_post_password_reset(|event: Arc<PostPasswordReset>| async move {
            assert!(event.user().email().is_empty(), "no notice to {}", event.user().email());
        })
        .build()
        .await
        .unwrap();
    let api = OpenApiService::new(ResetApi::new(reset.clone()), "Accounts", "1.0");
    let http =
        TestClient::new(poem::Route::new().nest("/reset", api.with(HttpContract)).with(poem::middleware::Tracing));

    let post = async |path: &str, agent: &str, body: String| {
        let request = http.post(format!("/reset{path}")).header("User-Agent", agent).content_type("application/json");
        request.body(body).send().await.0.status().as_u16()
    };
    for email in ["ann@example.com", "nobody.canary@example.com", "carol@example.com", "not-an-address-canary"] {
        post("/", "a", format!("{{\"email\":\"{email}\"}}")).await;
    }
    failing.store(1, Ordering::SeqCst);
    post("/", "a", "{\"email\":\"ann@example.com\"}".to_owned()).await;
    while reset.ledger().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let token = events.lock().unwrap()[0].token().expose().to_owned();
    let forged = format!("{}AAAA", &token[..token.len() - 4]);
    let weak = "canary password1";
    let with = |token: &str, password: &str| format!("{{\"token\":\"{token}\",\"password\":\"{password}\"}}");
    assert_eq!(post("/validate_token", "a", with(&token, "")).await, 200);
    assert_eq!(post("/validate_token", "a", with(&forged, "")).await, 404);
    assert_eq!(post("/confirm", "a", with(&forged, GOOD_PASSWORD)).await, 404);
    assert_eq!(post("/confirm", "a", with(&token, "canary1")).await, 400);
    assert_eq!(post("/confirm", "vetoed", with(&token, GOOD_PASSWORD)).await, 400);
    assert_eq!(post("/confirm", "a", format!("{{\"token\":\"{token}\",\"password\":[\"{weak}\"]}}")).await, 400);
    assert_eq!(post("/confirm", "a", format!("{token} {weak}")).await, 400);
    failing.store(1, Ordering::SeqCst);
    assert_eq!(post("/confirm", "a", with(&token, GOOD_PASSWORD)).await, 503);
    assert_eq!(post("/confirm", "a", with(&token, GOOD_PASSWORD)).await, 200);
    assert_eq!(post("/confirm", "a", with(&token, GOOD_PASSWORD)).await, 404);
    reset.shutdown(Duration::from_secs(10)).await;

    let text = log.text();
    for expected in [
        "a reset was requested",
        "a reset token was refused",
        "refusal=signature",
        "a password was reset",
        "a handler vetoed",
    ] {
        assert!(text.contains(expected), "{expected:?} is logged: {text}");
    }
    let hash = |id: &str| users.get(id).unwrap().password_hash().unwrap().expose().to_owned();
    let claims = token.split('.').nth(1).unwrap().to_owned();
    let secrets = [
        ("the token", token.clone()),
        ("the claims", claims),
        ("the signature", token.rsplit('.').next().unwrap().to_owned()),
        ("a forged token", forged),
        ("an address", "ann@example.com".to_owned()),
        ("an unknown address", "nobody.canary@example.com".to_owned()),
        ("what is no address", "not-an-address-canary".to_owned()),
        ("the new password", GOOD_PASSWORD.to_owned()),
        ("a weak password", "canary1".to_owned()),
        ("a password of a wrong type", weak.to_owned()),
        ("the key", String::from_utf8(KEY.to_vec()).unwrap()),
        ("the hash of a password", hash("1")),
        ("another hash", hash("2")),
    ];
    assert_contains_none(&text, &secrets);
}

/// A store whose errors quote their arguments on a separate line.
struct Quotes(poem_password_reset::store::MemoryUsers);

impl UserStore for Quotes {
    type Error = BoxError;

    async fn find_by_email(&self, email: &str) -> Result<Vec<StoredUser>, BoxError> {
        Err(format!("no answer for\nERROR {email}").into())
    }

    async fn find_by_id(&self, id: &str) -> Result<Option<StoredUser>, BoxError> {
        Ok(self.0.get(id))
    }

    async fn replace_password(&self, user: &StoredUser, new_hash: &PasswordHash) -> Result<Swap, BoxError> {
        let old = user.password_hash().map(PasswordHash::expose);
        Err(format!("not {} instead of {old:?} for\nERROR {}", new_hash.expose(), user.email()).into())
    }

    /// The check succeeds, so no outage is detected.
    async fn check(&self) -> Result<(), BoxError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn application_errors_are_logged_in_one_line_without_secrets() {
    Log::of_process();
    let log = Log::default();
    let _guard = log.of_thread();
    let users = people();
    let refuses = |password: &str| match password.contains("tractor") {
        true => Err(BoxError::from(format!("cannot hash\nERROR {password}"))),
        false => Ok(cheap_hash(password)?),
    };
    let reset =
        builder(Quotes(users.clone())).hasher(refuses).on_reset_token_created(async |_| {}).build().await.unwrap();
    let ann = users.get("1").unwrap();
    let token = reset.issue(&ann, None).unwrap().token().expose().to_owned();
    let confirm = async |password: &str| reset.confirm(&token, NewPassword::new(password), Client::none()).await;

    confirm(GOOD_PASSWORD).await.unwrap_err();
    confirm("a parrot sings in the cellar").await.unwrap_err();
    reset.request("ann@example.com", Client::none()).await.unwrap();
    reset.shutdown(Duration::from_secs(60)).await;

    let text = log.text();
    for expected in ["cannot hash ERROR [..]", "for ERROR [..]", "no answer for ERROR [..]"] {
        assert!(text.contains(expected), "{expected:?} is logged: {text}");
    }
    let secrets = [
        ("the address", "ann@example.com".to_owned()),
        ("the password that was not hashed", GOOD_PASSWORD.to_owned()),
        ("the password in the new hash", "a parrot sings in the cellar".to_owned()),
        ("the old hash", ann.password_hash().unwrap().expose().to_owned()),
    ];
    assert_contains_none(&text, &secrets);
}

/// The comparison with the stored hash runs on a worker thread.
#[tokio::test]
async fn error_of_a_password_verifier_is_logged_without_secrets() {
    let log = Log::of_process();
    let hash = "pbkdf2_sha256$870000$salt$b2xkIGhhc2g=";
    let user = StoredUser::new(1, "verifier.canary@example.com", Some(hash.to_owned()));
    let password = "a walrus hums over the canary islands";
    let verifier =
        |password: &str, hash: &str| Err::<bool, BoxError>(format!("{hash} of {password}: no scheme").into());
    let reset = builder(poem_password_reset::store::MemoryUsers::new([user.clone()]))
        .policy(PasswordPolicy::default().refuse_current(verifier))
        .on_reset_token_created(doubles::no_mail)
        .build()
        .await
        .unwrap();
    let token = reset.issue(&user, None).unwrap();
    reset.confirm(token.token().expose(), NewPassword::new(password), Client::none()).await.unwrap();
    let text = log.text();
    assert!(text.contains("a password could not be compared with a stored hash"), "{text}");
    assert!(text.contains("no scheme"), "{text}");
    let secrets = [
        ("the hash", hash.to_owned()),
        ("the password", password.to_owned()),
        ("the address", "verifier.canary@example.com".to_owned()),
    ];
    assert_contains_none(&text, &secrets);
}

#[tokio::test]
async fn debug_and_display_contain_no_secret() {
    Log::of_process();
    let hash = cheap_hash("the password").unwrap();
    let user = StoredUser::new(7, "ann@example.com", Some(hash.clone())).with_username("annie-canary".to_owned());
    let codec = TokenCodec::new(key());
    let now = OffsetDateTime::now_utc();
    let token = codec.issue(&user, now, time::Duration::HOUR).unwrap();
    let claims = codec.verify(token.expose(), now).unwrap();
    let reset = builder(people()).on_reset_token_created(async |_| {}).build().await.unwrap();
    let event = reset.issue(&user, None).unwrap();
    let stale = codec.bind(codec.verify(token.expose(), now).unwrap(), people().get("1").unwrap()).unwrap_err();

    let mut shown = format!("{:?} {:?} {user:?} {codec:?} {token:?} {claims:?}", key(), KeyRing::new(key()));
    let bound = codec.bind(claims, user.clone()).unwrap();
    let _ = write!(shown, " {bound:?} {event:?} {reset:?} {stale:?} {stale}");
    let _ = write!(shown, " {:?} {:?}", NewPassword::new("the password"), PasswordHash::new(hash.as_str()));
    let _ = write!(shown, " {:?} {:?} {:?}", PasswordPolicy::default(), Client::none(), ResetApi::new(reset));

    assert_contains_none(
        &shown,
        &[
            ("the token", token.expose().to_owned()),
            ("the token of the event", event.token().expose().to_owned()),
            ("the link", event.link().to_owned()),
            ("the address", "ann@example.com".to_owned()),
            ("the username", "annie-canary".to_owned()),
            ("the hash", hash),
            ("the password", "the password".to_owned()),
            ("the key", String::from_utf8(KEY.to_vec()).unwrap()),
        ],
    );
}

/// `Debug`, `Display` and the sources of an error, at any depth, do not show the application's error text.
#[tokio::test]
async fn application_error_is_shown_only_by_expose() {
    Log::of_process();
    let users = people();
    let quoted = || format!("cannot hash {GOOD_PASSWORD} of ann@example.com");
    let settings = || builder(users.clone()).on_reset_token_created(doubles::no_mail);
    let hashes = Arc::new(AtomicUsize::new(0));
    let hasher = move |password: &str| match hashes.fetch_add(1, Ordering::SeqCst) {
        0 | 1 => Ok(cheap_hash(password).unwrap()),
        _ => Err(quoted()),
    };
    let by_hasher = settings().hasher(hasher).build().await.unwrap();
    // Handlers get no password.
    let refuses = |_| std::future::ready(Err::<(), _>("no row for ANN@EXAMPLE.COM"));
    let by_handler = settings().on_pre_password_reset(refuses).build().await.unwrap();
    for (reset, said) in [(by_hasher, quoted()), (by_handler, "no row for ANN@EXAMPLE.COM".to_owned())] {
        let token = reset.issue(&users.get("1").unwrap(), None).unwrap();
        let error = reset.confirm(token.token().expose(), GOOD_PASSWORD.into(), Client::none()).await.unwrap_err();
        let mut shown = format!("{error} {error:?} {error:#?}");
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            shown += &format!(" {error} {error:?}");
            source = error.source();
        }
        let ResetError::Failed(inner) = &error else { panic!("{error:?}") };
        shown += &format!("{inner} {inner:?} {inner:#?}");
        assert!(std::error::Error::source(inner).is_none());
        assert_contains_none(
            &shown,
            &[("the password", GOOD_PASSWORD.to_owned()), ("the address", "ann@example.com".to_owned())],
        );
        assert_eq!(inner.expose().to_string(), said, "`expose` returns the application's error");
    }
}
