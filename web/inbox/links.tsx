/** Links to the other pages of this server. */
export function Links() {
  return (
    <nav className="links" aria-label="About this server">
      <a href="./graphql">GraphiQL</a>
      <a href="./docs/README.md">Readme</a>
      <a href="./docs/CLIENT.md">Client</a>
      <a href="./docs/PROTOCOL.md">Protocol</a>
      <a href="./docs/CONFIGURATION.md">Configuration</a>
      <a href="./docs/OPERATIONS.md">Operations</a>
      <a href="./docs/RECORD.md">Record</a>
      <a href="./docs/SECURITY.md">Security</a>
      <a href="./metrics">Metrics</a>
    </nav>
  );
}
