#!/usr/bin/env bash
# Counts the crates that the library adds to those of poem and poem-openapi. Fails if a set of features exceeds its limit.
# With --build, also measures a clean release build of a small program, with and without the library: time and size. With --features,
# measures the processor time of a release build with each feature after one without it: the further crates, and the library
# again. Other load on the machine hardly changes it.
set -euo pipefail
cd "$(dirname "$0")/.."

crates() { cargo tree --locked --prefix none --edges normal,build "$@" | sed 's/ (.*//' | sort -u; }

# 25 of the 60 crates are dependencies of `idna`. A program with `url`, sqlx or an HTTP client has them already.
bare=$( (crates --package poem; crates --package poem-openapi) | sort -u)
limits='token-layer     -             20
default         poem           60
sqlite          poem,sqlite    86
postgres        poem,postgres  89
mysql           poem,mysql     80
redis           poem,redis     70
graphile        poem,graphile  139
metrics         poem,metrics   62
breached        poem,breached  62
mail            poem,mail      67
smtp            poem,smtp      81'
fail=0
echo 'crates with the library, and those that poem and poem-openapi do not have'
printf '%-12s  %6s  %6s  %6s  %s\n' features crates added limit met
while read -r name features limit; do
    ours=$(crates --package poem-password-reset --no-default-features --features "${features#-}")
    added=$(comm -13 <(printf '%s\n' "$bare") <(printf '%s\n' "$ours") | wc -l)
    met=yes
    [ "$added" -le "$limit" ] || { met=no; fail=1; }
    printf '%-12s  %6d  %6d  %6d  %s\n' "$name" "$(wc -l <<<"$ours")" "$added" "$limit" "$met"
done <<<"$limits"
if [ "${1-}" = --features ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    cpu_seconds() { # cpu_seconds TARGET FEATURES
        local TIMEFORMAT='%U %S'
        { time cargo build --quiet --locked --release --package poem-password-reset --no-default-features \
            --features "$2" --target-dir "$1" 2>"$work/errors"; } 2>&1 | awk '{ printf "%d", $1 + $2 }'
    }
    cargo build --quiet --locked --release --package poem-password-reset --features poem --target-dir "$work/poem"
    printf '\n%-12s  %s\n' features 'processor seconds after a build with the feature poem: further crates, and the library again'
    while read -r name features _; do
        case $features in -|poem) continue ;; esac
        cp -r "$work/poem" "$work/target"
        printf '%-12s  %s\n' "$name" "$(cpu_seconds "$work/target" "$features")"
        rm -rf "$work/target"
    done <<<"$limits"
    exit "$fail"
fi
[ "${1-}" = --build ] || exit "$fail"

# Two programs that differ only in this library. The bare one has three endpoints that return their body.
library=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
program() { # program NAME DEPENDENCY < main.rs
    mkdir -p "$work/$1/src"
    cat >"$work/$1/src/main.rs"
    cp Cargo.lock "$work/$1/"
    cat >"$work/$1/Cargo.toml" <<TOML
[package]
name = "$1"
version = "0.0.0"
edition = "2024"
[dependencies]
poem = "3.1.12"
poem-openapi = "5.1.16"
tokio = { version = "1.54.1", features = ["macros", "rt-multi-thread"] }
$2
[profile.release]
strip = true
[workspace]
TOML
}
program bare '' <<'RUST'
use poem::{Route, Server, listener::TcpListener};
use poem_openapi::{Object, OpenApi, OpenApiService, payload::Json};

struct Api;

#[derive(Object)]
struct Message {
    text: String,
}

#[OpenApi]
impl Api {
    #[oai(path = "/", method = "post")]
    async fn request(&self, body: Json<Message>) -> Json<Message> {
        body
    }

    #[oai(path = "/validate_token", method = "post")]
    async fn validate(&self, body: Json<Message>) -> Json<Message> {
        body
    }

    #[oai(path = "/confirm", method = "post")]
    async fn confirm(&self, body: Json<Message>) -> Json<Message> {
        body
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = Route::new().nest("/api", OpenApiService::new(Api, "Accounts", "1.0"));
    Ok(Server::new(TcpListener::bind("127.0.0.1:3000")).run(app).await?)
}
RUST
program with-library "poem-password-reset = { path = \"$library\" }" <<'RUST'
use std::convert::Infallible;

use poem::{EndpointExt, Route, Server, listener::TcpListener};
use poem_openapi::OpenApiService;
use poem_password_reset::{HttpContract, PasswordHash, PasswordReset, ResetApi, SigningKey, StoredUser, Swap, UserStore};

/// Stands for the user store of an application.
struct NoUsers;

impl UserStore for NoUsers {
    type Error = Infallible;

    async fn find_by_email(&self, _email: &str) -> Result<Vec<StoredUser>, Infallible> {
        Ok(Vec::new())
    }

    async fn find_by_id(&self, _id: &str) -> Result<Option<StoredUser>, Infallible> {
        Ok(None)
    }

    async fn replace_password(&self, _user: &StoredUser, _hash: &PasswordHash) -> Result<Swap, Infallible> {
        Ok(Swap::Stale)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let reset = PasswordReset::builder(NoUsers, SigningKey::generate()?)
        .link("https://app.example.com/reset-password#token={token}")
        .on_reset_token_created(async |event| println!("{}", event.link()))
        .build()
        .await?;
    let app = Route::new().nest("/api", OpenApiService::new(ResetApi::new(reset), "Accounts", "1.0").with(HttpContract));
    Ok(Server::new(TcpListener::bind("127.0.0.1:3000")).run(app).await?)
}
RUST
echo
printf '%-12s  %16s  %21s\n' program 'clean build in s' 'stripped size in KiB'
for name in bare with-library; do
    cd "$work/$name"
    cargo fetch --quiet
    started=$(date +%s%N)
    cargo build --quiet --offline --release --target-dir "$work/target-$name"
    seconds=$((($(date +%s%N) - started) / 1000000000))
    printf '%-12s  %16d  %21d\n' "$name" "$seconds" $(($(stat -c %s "$work/target-$name/release/$name") / 1024))
done
exit "$fail"
