//! Runs the server until it is killed: `cargo run -- [PORT]`, then use the lines that it prints.

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let server = recant_s3_test::Server::start(port)?;
    for (key, value) in server.environment() {
        println!("export {key}='{value}'");
    }
    println!("# recant store push s3://{}/anything", recant_s3_test::BUCKET);
    loop {
        std::thread::park();
    }
}
