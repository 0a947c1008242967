//! A complete application with `poem-password-reset`: database, mails and pages. `cargo run -p demo` starts it, `--help`
//! lists the flags.
//!
//! The code for the password reset is in [`run`] (the builder and the routes) and in `mail.rs` (the mailer). The rest is
//! code that an application has anyway: users, a sign-in, pages and a server.

#![forbid(unsafe_code)]

mod app;
mod asset;
mod attempts;
mod database;
mod diagnose;
mod docs;
mod keys;
mod login;
mod mail;
mod options;
mod outbox;
mod pages;
mod queue;
mod server;
mod signals;
mod site;
mod throttle;

use std::env;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use poem::{EndpointExt, get};
use poem_openapi::OpenApiService;
use poem_password_reset::mail::{OutboxDirectory, SmtpConfigError};
use poem_password_reset::throttle::Quotas;
use poem_password_reset::{Argon2id, BuildError, HttpContract, PasswordReset, ResetApi};
use thiserror::Error;
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use self::attempts::Attempts;
use self::database::{Database, DatabaseError};
use self::keys::KeyListError;
use self::login::Login;
use self::mail::Transport;
use self::options::Options;
use self::outbox::{Memory, Outbox};
use self::queue::{Queue, QueueError};
use self::server::Deadlines;
use self::site::SiteError;
use self::throttle::ThrottleError;

/// Time limit for unfinished mails and confirmations when the demo stops.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    start_log();
    match run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            // The status of clap for a flag that it cannot parse: most of these errors name a flag as well.
            ExitCode::from(2)
        }
    }
}

/// Why the demo did not start.
#[derive(Debug, Error)]
enum StartError {
    #[error("--key: {0}")]
    Keys(#[from] KeyListError),
    #[error("--database: {0}")]
    Database(#[from] DatabaseError),
    #[error("--throttle: {0}")]
    Throttle(#[from] ThrottleError),
    #[error("--queue: {0}")]
    Queue(#[from] QueueError),
    #[error("--outbox {}: {error}", path.display())]
    Outbox { path: PathBuf, error: io::Error },
    #[error("--smtp: {0}")]
    Smtp(#[from] SmtpConfigError),
    #[error("--public-url: {0}")]
    PublicUrl(#[from] SiteError),
    #[error("--listen {address}: {error}")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("the signal handlers could not be installed: {0}")]
    Signals(io::Error),
    #[error(transparent)]
    Build(#[from] BuildError),
}

/// Starts the demo, serves until a signal arrives, and finishes the accepted work.
async fn run(options: Options) -> Result<(), StartError> {
    let keys = options.key_ring()?;
    let public_url = options.public_url()?;
    // Clones share the memory that hashing needs.
    let argon2id = Argon2id::default();
    let database = Database::open(&options.database, &argon2id).await?;
    let throttle = throttle::open(&options.throttle).await?;
    let queue = Queue::open(&options.queue).await?;
    let outbox = Arc::new(outbox(&options)?);
    let cannot_listen = |error| StartError::Listen { address: options.listen, error };
    let listener = TcpListener::bind(options.listen).await.map_err(cannot_listen)?;
    // Links in mails contain the port, which is known only now if the flag says port 0.
    let local = site::local(listener.local_addr().map_err(cannot_listen)?);
    let site = public_url.as_ref().unwrap_or(&local);

    let users = database.users();
    let attempts = Arc::new(Attempts::new(!options.no_throttle));
    let transport = Transport { outbox: outbox.clone(), delay: options.mail_delay(), fail: options.mail_fail };
    let mut builder = PasswordReset::builder(users.clone(), keys)
        .link(options.link_style.link(site))
        // Allows http for a phone on the same network. Links to public hosts must still be https.
        .insecure_link(public_url.is_none() && !site::is_this_machine(options.listen.ip()))
        .mailer(mail::mailer(transport, site))
        .data(attempts.clone())
        .hasher(argon2id.clone())
        .trusted_proxies(options.trusted_proxies.iter().cloned())
        .quotas(if options.no_throttle { Quotas::off() } else { Quotas::default() });
    if let Some(throttle) = throttle.clone() {
        builder = builder.throttle(throttle);
    }
    if let Some(queue) = &queue {
        builder = builder.delivery(queue.delivery.clone());
    }
    if let Some(header) = &options.client_address_header {
        builder = builder.client_address_header(header);
    }
    let reset = builder.build().await?;
    if let Some(queue) = &queue {
        tokio::spawn(reset.worker(&queue.delivery).run());
    }
    let quota = if options.no_throttle { None } else { Some(login::QUOTA) };
    let login = Login::new(users, argon2id, reset.clone(), quota, throttle, attempts).map_err(DatabaseError::Hash)?;
    let api = OpenApiService::new(ResetApi::new(reset.clone()), "Accounts", "1.0").server("/api/password_reset");
    let swagger_ui = docs::swagger_ui(&api);
    let routes = pages::routes(outbox.clone())
        .at("/openapi.json", get(docs::document(&api)))
        .at("/docs", get(swagger_ui.clone()))
        .at("/docs/", get(swagger_ui))
        .nest("/api/password_reset", api.with(HttpContract))
        .at("/api/login", login)
        .at("/diagnose", diagnose::endpoint(reset.clone()));

    let stop = signals::stop().map_err(StartError::Signals)?;
    print_summary(&options, &outbox, &local, public_url.as_deref());
    server::serve(listener, app::with_headers(routes), Deadlines::default(), stop).await;
    reset.shutdown(SHUTDOWN_DEADLINE).await;
    if let Some(queue) = &queue {
        queue.close().await;
    }
    database.close().await;
    Ok(())
}

/// Opens the outbox that the flags choose.
fn outbox(options: &Options) -> Result<Outbox, StartError> {
    let cannot_write = |path: &Path, error| StartError::Outbox { path: path.to_owned(), error };
    Ok(match (options.smtp()?, &options.outbox) {
        (Some(smtp), _) => Outbox::Server(smtp),
        (None, Some(path)) => {
            Outbox::Directory(OutboxDirectory::open(path).map_err(|error| cannot_write(path, error))?)
        }
        (None, None) => Outbox::Memory(Memory::default()),
    })
}

/// Starts the log: text for a terminal, JSON for a program. `RUST_LOG` sets the level. Without it, the job engine logs only
/// warnings.
fn start_log() {
    let mut filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    if env::var_os("RUST_LOG").is_none() {
        // Two lines for each request.
        filter = filter.add_directive("graphile_worker=warn".parse().expect("the directive is well formed"));
    }
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    if io::stderr().is_terminal() { log.compact().init() } else { log.json().init() }
}

/// Prints the addresses, the users and the settings to standard output.
fn print_summary(options: &Options, outbox: &Outbox, site: &str, public_url: Option<&str>) {
    let key = match options.key_was_given() {
        true => "from --key",
        false => "generated at this start; links do not survive a restart (use --key BASE64)",
    };
    let mails = match outbox {
        Outbox::Memory(_) => format!("{site}/outbox"),
        Outbox::Directory(directory) => format!("{site}/outbox (written to {})", directory.path().display()),
        Outbox::Server(smtp) => format!("sent through {smtp}"),
    };
    let users: Vec<String> = database::SEEDS
        .iter()
        .map(|seed| match seed.remark() {
            "" => seed.email.to_owned(),
            remark => format!("{} ({remark})", seed.email),
        })
        .collect();
    let text = format!(
        "poem-password-reset demo: {site}/\n\
         \n\
         forgot password  {site}/forgot-password\n\
         outbox           {mails}\n\
         sign in          {site}/login\n\
         Swagger UI       {site}/docs\n\
         links in mails   {links}\n\
         \n\
         users            {users}\n\
         password         {password}\n\
         signing key      {key}\n\
         queue            {queue}\n\
         database         {database}\n",
        links = public_url.unwrap_or(site),
        users = users.join(", "),
        password = database::PASSWORD,
        queue = database::without_password(&options.queue),
        database = database::without_password(&options.database),
    );
    // The demo runs without a reader too: a closed pipe is not an error.
    let _ = io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush());
}
