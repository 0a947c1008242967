//! Mails: written by the library, and sent to a mail server in this process.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use lettre::transport::smtp::PoolConfig;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use poem_password_reset::mail::{Mail, MailTransport, Mailer, MemoryOutbox, SmtpTransport};
use poem_password_reset::store::MemoryUsers;
use poem_password_reset::throttle::Quotas;
use poem_password_reset::{Client, PasswordReset, SigningKey, StoredUser};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::interleave::{Session, interleave};
use super::process::cpu_time;

/// Mails per sample.
const MAILS: usize = 1000;

/// Mails in progress at the same time, on both sides.
const AT_ONCE: usize = 64;

fn ann() -> StoredUser {
    StoredUser::new(1, "ann@example.com", Some("a hash".to_owned())).with_username(Some("ann".to_owned()))
}

async fn service(transport: impl MailTransport) -> PasswordReset {
    let key = SigningKey::generate().expect("the system has random numbers");
    let builder = PasswordReset::builder(MemoryUsers::new([ann()]), key)
        .link("https://app.example.com/reset-password#token={token}")
        .mailer(Mailer::new(transport).from("Acme <no-reply@acme.example>").brand("Acme"))
        .quotas(Quotas::off())
        .handled_at_once(AT_ONCE)
        .linked_handlers(false);
    builder.build().await.expect("the settings are complete")
}

/// Drops mails.
struct Nowhere;

impl MailTransport for Nowhere {
    type Error = Infallible;

    async fn send(&self, mail: &Mail) -> Result<(), Infallible> {
        black_box(mail.mime());
        Ok(())
    }
}

/// Nanoseconds of processor time to issue a token, write its mail (subject, text and HTML), and build the MIME message.
/// `None` if the system does not report processor time. Time on the clock would include other load on the machine.
pub fn written(runtime: &Runtime) -> Option<f64> {
    let reset = runtime.block_on(service(Nowhere));
    let user = ann();
    let before = cpu_time()?;
    for _ in 0..MAILS {
        runtime.block_on(reset.send(&user, None)).expect("the mail is written");
    }
    Some((cpu_time()? - before).as_secs_f64() * 1e9 / MAILS as f64)
}

/// Mails per second: 1,000 requests through the library, against 1,000 finished mails through lettre's pooled transport.
pub fn sent(runtime: &Runtime, samples: usize) -> Session {
    // lettre's pool spawns tasks, also when it is dropped.
    let _context = runtime.enter();
    let server = runtime.block_on(Server::start());
    let url = format!("smtp://127.0.0.1:{}", server.port);
    let (reset, mail) = runtime.block_on(async {
        let smtp = SmtpTransport::from_url(&url).expect("the URL is valid");
        (service(smtp).await, finished_mail().await)
    });
    let pool = PoolConfig::new().max_size(8);
    let lettre: AsyncSmtpTransport<Tokio1Executor> = runtime.block_on(async {
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous("127.0.0.1").port(server.port).pool_config(pool).build()
    });
    interleave(
        samples,
        || runtime.block_on(server.rate_of(request_all(&reset))),
        || runtime.block_on(server.rate_of(send_all(&lettre, &mail))),
    )
}

async fn request_all(reset: &PasswordReset) {
    for _ in 0..MAILS {
        reset.request("ann@example.com", Client::none()).await.expect("the request is accepted");
    }
}

async fn send_all(lettre: &AsyncSmtpTransport<Tokio1Executor>, mail: &Message) {
    let mut sends = JoinSet::new();
    for number in 0..MAILS {
        let (lettre, mail) = (lettre.clone(), mail.clone());
        sends.spawn(async move { lettre.send(mail).await });
        if number >= AT_ONCE {
            sends.join_next().await;
        }
    }
    while let Some(sent) = sends.join_next().await {
        sent.expect("the send does not panic").expect("the mail is accepted");
    }
}

/// Returns a message with the parts of the library's mail.
async fn finished_mail() -> Message {
    let outbox = MemoryOutbox::new();
    let reset = service(outbox.clone()).await;
    reset.send(&ann(), None).await.expect("the mail is written");
    let mail = outbox.next().await;
    let parts = lettre::message::MultiPart::alternative_plain_html(mail.text().to_owned(), mail.html().to_owned());
    let message = Message::builder().from(mail.from().parse().expect("the sender is an address"));
    let message = message.to(mail.to().parse().expect("the recipient is an address")).subject(mail.subject());
    message.multipart(parts).expect("the mail is complete")
}

/// A mail server that accepts everything.
struct Server {
    port: u16,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("the listener has an address").port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&counter)));
            }
        });
        Self { port, accepted }
    }

    /// Returns the mails per second that the server accepts.
    async fn rate_of(&self, work: impl Future<Output = ()>) -> f64 {
        let (before, begun) = (self.accepted.load(Ordering::SeqCst), Instant::now());
        work.await;
        while self.accepted.load(Ordering::SeqCst) < before + MAILS {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        MAILS as f64 / begun.elapsed().as_secs_f64()
    }
}

async fn serve(mut stream: TcpStream, accepted: Arc<AtomicUsize>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let (from, mut to) = stream.split();
    let mut lines = BufReader::new(from);
    to.write_all(b"220 sink\r\n").await.ok()?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if lines.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        let reply: &[u8] = match line.get(..4)? {
            b"EHLO" => b"250-sink\r\n250 8BITMIME\r\n",
            b"DATA" => {
                to.write_all(b"354 go on\r\n").await.ok()?;
                while line != b".\r\n" {
                    line.clear();
                    if lines.read_until(b'\n', &mut line).await.ok()? == 0 {
                        return None;
                    }
                }
                accepted.fetch_add(1, Ordering::SeqCst);
                b"250 ok\r\n"
            }
            b"QUIT" => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        };
        to.write_all(reply).await.ok()?;
    }
}
