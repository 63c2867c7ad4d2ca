//! Fifty clients of tokio-postgres on few servers, with rustls where there is TLS: every answer is checked.
//! usage: shared_statements PORT DATABASE CA|- [FILE]
//! It ends after some rounds, or when FILE is there, after a few. The test has made the table drivers_shared.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::{pem::PemObject, CertificateDer};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

type Fault = Box<dyn Error + Send + Sync>;

const CLIENTS: i32 = 50;
const ROUNDS: i32 = 9;
const LEAST_ROUNDS: i32 = 2;
const ZONES: [&str; 4] = ["Asia/Tokyo", "Europe/Paris", "America/New_York", "UTC"];

fn expect<T: PartialEq + std::fmt::Debug>(got: T, wanted: T) -> Result<(), Fault> {
    if got == wanted {
        return Ok(());
    }
    Err(format!("{got:?} instead of {wanted:?}").into())
}

fn expect_code<T>(result: Result<T, tokio_postgres::Error>, code: SqlState) -> Result<(), Fault> {
    match result {
        Ok(_) => Err("no error".into()),
        Err(error) if error.code() == Some(&code) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn tls(ca: &str) -> Result<MakeRustlsConnect, Fault> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// What it hears by NOTIFY comes by the channel.
async fn connect(
    port: u16,
    database: &str,
    ca: &str,
) -> Result<(Client, tokio::sync::mpsc::UnboundedReceiver<String>), Fault> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).dbname(database).user("postgres").password("postgres");
    let (told, heard) = tokio::sync::mpsc::unbounded_channel();
    // Of another type with TLS.
    macro_rules! drive {
        ($connection:expr) => {{
            let mut connection = $connection;
            tokio::spawn(async move {
                let mut messages = futures_util::stream::poll_fn(move |cx| connection.poll_message(cx));
                while let Some(Ok(message)) = messages.next().await {
                    if let AsyncMessage::Notification(said) = message {
                        let _ = told.send(said.payload().to_owned());
                    }
                }
            });
        }};
    }
    if ca == "-" {
        let (client, connection) = config.connect(NoTls).await?;
        drive!(connection);
        return Ok((client, heard));
    }
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    let (client, connection) = config.connect(tls(ca)?).await?;
    drive!(connection);
    Ok((client, heard))
}

async fn client(number: i32, port: u16, database: &str, ca: &str, file: Option<&str>) -> Result<(), Fault> {
    let (mut client, mut heard) = connect(port, database, ca).await?;
    let table = format!("tokio_{number}");
    let zone = ZONES[number as usize % 4];
    client.batch_execute(&format!("CREATE TABLE {table}(a int)")).await?;
    client.batch_execute(&format!("SET TimeZone = '{zone}'")).await?;
    client.batch_execute(&format!("SET lock_timeout = {}", 60001 + number)).await?;
    let kept = client.prepare("SELECT $1::int * 2").await?;
    let mut round = 0;
    let least = if file.is_none() { ROUNDS } else { LEAST_ROUNDS };
    while round < least || file.is_some_and(|file| !Path::new(file).exists()) {
        expect(client.query_one("SELECT $1::int + 1", &[&round]).await?.get(0), round + 1)?;
        expect(client.query_one(&kept, &[&round]).await?.get(0), round * 2)?;
        expect_code(client.query_one("SELECT 1 / $1::int", &[&0]).await, SqlState::DIVISION_BY_ZERO)?;
        let transaction = client.transaction().await?;
        transaction.batch_execute(&format!("SET LOCAL work_mem = '{}kB'", 64 + number)).await?;
        let memory: String = transaction.query_one("SHOW work_mem", &[]).await?.get(0);
        expect(memory, format!("{}kB", 64 + number))?;
        transaction.execute(&format!("INSERT INTO {table} VALUES ($1)"), &[&round]).await?;
        transaction.commit().await?;
        // All at once: they are pipelined.
        let (two, four, six) = futures_util::future::try_join3(
            client.query_one(&kept, &[&1]),
            client.query_one(&kept, &[&2]),
            client.query_one("SELECT $1::int + 0", &[&6]),
        )
        .await?;
        expect([two.get::<_, i32>(0), four.get(0), six.get(0)], [2, 4, 6])?;
        let mut sink = std::pin::pin!(client.copy_in(&format!("COPY {table} FROM STDIN")).await?);
        for line in ["1\n2", "\n3\n"] {
            sink.send(line.as_bytes()).await?;
        }
        expect(sink.finish().await?, 3)?;
        let count: i64 = client.query_one(&format!("SELECT count(*) FROM {table}"), &[]).await?.get(0);
        expect(count, 4 * (i64::from(round) + 1))?;
        // Records of TLS in great number.
        let long: String = client.query_one("SELECT repeat('abcdefghij', $1)", &[&20_000]).await?.get(0);
        expect(long == "abcdefghij".repeat(20_000), true)?;
        expect_code(
            client.batch_execute("SET TimeZone = 'Nowhere/Here'").await,
            SqlState::INVALID_PARAMETER_VALUE,
        )?;
        let row = client
            .query_one("SELECT current_setting('TimeZone'), current_setting('lock_timeout')", &[])
            .await?;
        expect([row.get(0), row.get(1)], [zone.to_owned(), format!("{}ms", 60001 + number)])?;
        if round % 5 == number % 5 {
            client.execute("SELECT pg_advisory_lock($1)", &[&i64::from(number)]).await?;
            client.batch_execute(&format!("CREATE TEMP TABLE mine AS SELECT {round} AS x")).await?;
            client.batch_execute(&format!("LISTEN ear_{number}; NOTIFY ear_{number}, '{round}'")).await?;
            expect(heard.recv().await, Some(round.to_string()))?;
            let x: i32 = client.query_one(&format!("SELECT x FROM mine -- {round}"), &[]).await?.get(0);
            expect(x, round)?;
            client.batch_execute("UNLISTEN *; DROP TABLE mine").await?;
            let released: bool =
                client.query_one("SELECT pg_advisory_unlock($1)", &[&i64::from(number)]).await?.get(0);
            expect(released, true)?;
        }
        let shared: i32 =
            client.query_one("SELECT a FROM drivers_shared WHERE a = $1", &[&number]).await?.get(0);
        expect(shared, number)?;
        if round % 9 == number % 9 {
            client.batch_execute(&format!("ALTER TABLE drivers_shared ALTER b SET DEFAULT {round}")).await?;
        }
        round += 1;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Fault> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [port, database, ca, file @ ..] = arguments.as_slice() else {
        return Err("usage: shared_statements PORT DATABASE CA|- [FILE]".into());
    };
    let port = port.parse()?;
    let clients = (0..CLIENTS).map(|number| client(number, port, database, ca, file.first().map(String::as_str)));
    futures_util::future::try_join_all(clients).await?;
    println!("all right");
    Ok(())
}
