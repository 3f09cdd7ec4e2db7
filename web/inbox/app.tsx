import { useCallback, useEffect, useState } from 'react';
import type { Client } from '../client/index.ts';
import { Inbox } from './inbox.tsx';
import { forgetCredential, openClient, storeCredential, storedCredential } from './session.ts';
import { SignIn } from './sign-in.tsx';

/** The page: somebody's inbox, or the question who it is. */
export function App() {
  const [credential, setCredential] = useState(storedCredential);
  const [refusal, setRefusal] = useState<string | null>(null);
  const [client, setClient] = useState<Client | null>(null);

  const leave = useCallback((why: string | null) => {
    forgetCredential();
    setRefusal(why);
    setCredential(null);
  }, []);

  useEffect(() => {
    if (credential === null) return;
    const opened = openClient(credential);
    const stop = opened.status.subscribe(() => {
      const status = opened.status.get();
      if (status.state === 'refused') leave(status.error.message);
    });
    setClient(opened);
    return () => {
      stop();
      opened.close();
      setClient(null);
    };
  }, [credential, leave]);

  function enter(given: string) {
    storeCredential(given);
    setRefusal(null);
    setCredential(given);
  }

  if (credential === null) return <SignIn refusal={refusal} onSignIn={enter} />;
  return client && <Inbox key={credential} client={client} onSignOut={() => leave(null)} />;
}
