import { useCallback, useEffect, useState } from 'react';
import type { Client } from '../client/index.ts';
import { Inbox } from './inbox.tsx';
import { goTo } from './route.ts';
import {
  beginSession,
  endSession,
  forgetCredential,
  openClient,
  storeCredential,
  storedCredential,
} from './session.ts';
import { SignIn } from './sign-in.tsx';

/** The page: the viewer's inbox, or the sign-in form. */
export function App() {
  const [credential, setCredential] = useState(storedCredential);
  const [refusal, setRefusal] = useState<string | null>(null);
  const [client, setClient] = useState<Client | null>(null);

  const dropCredential = useCallback((reason: string | null) => {
    forgetCredential();
    setRefusal(reason);
    setCredential(null);
  }, []);

  useEffect(() => {
    if (credential === null) return;
    const opened = openClient(credential);
    const stop = opened.status.subscribe(() => {
      const status = opened.status.get();
      if (status.state === 'refused') dropCredential(status.error.message);
    });
    opened.viewer().then(
      ({ email }) => beginSession(email),
      // The client was refused or closed.
      () => {},
    );
    setClient(opened);
    return () => {
      stop();
      opened.close();
      setClient(null);
    };
  }, [credential, dropCredential]);

  function signIn(given: string) {
    storeCredential(given);
    setRefusal(null);
    setCredential(given);
  }

  function signOut(from: Client) {
    for (const { clientId } of from.outbox.get()) from.outbox.discard(clientId);
    endSession();
    // The address may hold addresses of members and a subject.
    goTo(null);
    dropCredential(null);
  }

  if (credential === null) return <SignIn refusal={refusal} onSignIn={signIn} />;
  return client && <Inbox key={credential} client={client} onSignOut={() => signOut(client)} />;
}
