import type { Client } from '../client/index.ts';
import { useReadable } from './shared/use-readable.ts';

/** Shows that the server cannot be reached, and how many messages wait. */
export function Banner({ client }: { readonly client: Client }) {
  const { state } = useReadable(client.status);
  const waiting = useReadable(client.outbox).filter((item) => item.state === 'queued').length;
  return (
    <div className="banner-place" role="status">
      {state === 'offline' && (
        <p className="banner">
          <strong>Offline.</strong>{' '}
          {waiting > 0
            ? `${waiting === 1 ? 'One message is' : `${waiting} messages are`} kept, and sent later.`
            : 'What you write is kept, and sent later.'}
          <button type="button" onClick={client.reconnect}>
            Try now
          </button>
        </p>
      )}
    </div>
  );
}
