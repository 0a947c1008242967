//! Moves the users of a Django project: signs in with Django's hash, resets the password, and replaces old hashes at sign-in.
//!
//! Run `cargo run --example django`. It uses Django's table `auth_user` in an SQLite database in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use pbkdf2::pbkdf2_hmac;
use poem_password_reset::store::SqliteUsers;
use poem_password_reset::{Argon2id, BoxError, Client, NewPassword, PasswordHasher, PasswordReset, SigningKey};
use sha2::Sha256;
use sqlx::SqlitePool;
use sqlx::sqlite::SqlitePoolOptions;
use subtle::ConstantTimeEq as _;

/// The columns of Django's table that this example uses.
const TABLE: &str = "
    CREATE TABLE auth_user (
        id         INTEGER PRIMARY KEY,
        password   VARCHAR(128) NOT NULL,
        last_login DATETIME,
        username   VARCHAR(150) NOT NULL UNIQUE,
        email      VARCHAR(254) NOT NULL,
        is_active  BOOL NOT NULL
    )";

/// Compares a password with Django's `pbkdf2_sha256$<iterations>$<salt>$<base64 of the hash>`.
fn verify_django(password: &str, stored: &str) -> Result<bool, BoxError> {
    let parts: Vec<&str> = stored.split('$').collect();
    let ["pbkdf2_sha256", iterations, salt, expected] = parts[..] else {
        return Err("not a PBKDF2 hash of Django".into());
    };
    let mut hash = [0; 32];
    pbkdf2_hmac::<Sha256>(password.as_bytes(), salt.as_bytes(), iterations.parse()?, &mut hash);
    Ok(hash.ct_eq(&BASE64_STANDARD.decode(expected)?).into())
}

/// Compares a password with a hash of either kind. The reset writes Argon2id; Django's hashes stay until they are replaced.
fn verify(password: &str, stored: &str) -> Result<bool, BoxError> {
    match stored.starts_with("pbkdf2_sha256$") {
        true => verify_django(password, stored),
        false => Argon2id::default().verify(password, stored),
    }
}

/// Signs a user in, and replaces a hash of Django with one of the new hasher. In a server, hash in `spawn_blocking`.
async fn sign_in(pool: &SqlitePool, email: &str, password: &str) -> Result<bool, BoxError> {
    let stored: Option<(i64, String)> =
        sqlx::query_as("SELECT id, password FROM auth_user WHERE lower(email) = lower(?) AND is_active")
            .bind(email)
            .fetch_optional(pool)
            .await?;
    let Some((id, stored)) = stored else { return Ok(false) };
    if !verify(password, &stored)? {
        return Ok(false);
    }
    if !stored.starts_with("$argon2id$") {
        // Compares the old hash, so that a password that was changed meanwhile is not overwritten.
        sqlx::query("UPDATE auth_user SET password = ? WHERE id = ? AND password = ?")
            .bind(Argon2id::default().hash(password)?)
            .bind(id)
            .bind(stored)
            .execute(pool)
            .await?;
    }
    Ok(true)
}

async fn hash_of(pool: &SqlitePool, email: &str) -> Result<String, BoxError> {
    let query = sqlx::query_scalar("SELECT password FROM auth_user WHERE email = ?");
    Ok(query.bind(email).fetch_one(pool).await?)
}

/// Runs the whole move.
///
/// # Errors
///
/// The first step that does not go as described.
pub async fn run() -> Result<(), BoxError> {
    let options = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
    let pool = options.connect("sqlite::memory:").await?;
    sqlx::raw_sql(TABLE).execute(&pool).await?;
    // Ann's password is "django was here", Bob's is "an old password".
    for (name, hash) in [("ann", ANN), ("bob", BOB)] {
        sqlx::query("INSERT INTO auth_user (password, username, email, is_active) VALUES (?, ?, ?, 1)")
            .bind(hash)
            .bind(name)
            .bind(format!("{name}@example.com"))
            .execute(&pool)
            .await?;
    }

    let users = SqliteUsers::new(pool.clone())
        .table("auth_user")
        .active_column("is_active")
        .password_hash_column("password")
        // A sign-in ends outstanding links, as Django's own reset does.
        .bind_column("last_login");
    let mails = Arc::new(Mutex::new(Vec::new()));
    let outbox = Arc::clone(&mails);
    let reset = PasswordReset::builder(users, SigningKey::generate()?)
        .link("https://app.example.com/reset-password#token={token}")
        .linked_handlers(false)
        .on_reset_token_created(move |event| {
            let sent = outbox.lock().map(|mut mails| mails.push(event.token().expose().to_owned()));
            std::future::ready(sent.map_err(|_| "a handler panicked"))
        })
        .build()
        .await?;

    ensure(sign_in(&pool, "bob@example.com", "an old password").await?, "Bob signs in with Django's hash")?;
    ensure(hash_of(&pool, "bob@example.com").await?.starts_with("$argon2id$"), "the sign-in replaces the hash")?;
    ensure(sign_in(&pool, "bob@example.com", "an old password").await?, "Bob signs in with the new hash")?;

    reset.request("ann@example.com", Client::none()).await?;
    while reset.ledger().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let token = mails.lock().map_err(|_| "a handler panicked")?.pop().ok_or("Ann got no mail")?;
    let new = "purple tractor hums at dawn";
    reset.confirm(&token, NewPassword::new(new), Client::none()).await?;
    ensure(hash_of(&pool, "ann@example.com").await?.starts_with("$argon2id$"), "the reset writes the new format")?;
    ensure(!sign_in(&pool, "ann@example.com", "django was here").await?, "Ann's old password is refused")?;
    ensure(sign_in(&pool, "ann@example.com", new).await?, "Ann signs in with her new password")?;
    ensure(reset.validate(&token).await.is_err(), "the link works once")
}

fn ensure(holds: bool, step: &str) -> Result<(), BoxError> {
    println!("{}: {step}", if holds { "ok" } else { "FAILED" });
    if holds { Ok(()) } else { Err(step.into()) }
}

const ANN: &str = "pbkdf2_sha256$20000$nhuQyFYzqfmDnoHYyWGjbp$ne+GSbVOfBqTPQ+Pxewafvie/C3zMSsU4GWtFNnkM4U=";
const BOB: &str = "pbkdf2_sha256$20000$4qJ8mXc2VwN7sTzYb0LdKe$KJT3tYple3uVQfIuteZhu9a1xmhYHQrH+1TeT/B2YX0=";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    run().await
}
