import { useEffect, useState } from 'react';

/** How long the notice stays after the last event, in milliseconds. */
const SHOWN_MS = 6000;

/** Keeps the browser from opening a dropped file or link, and shows that files cannot be sent. */
export function DropNotice() {
  const [shown, setShown] = useState(false);

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    function refuse(event: DragEvent) {
      const hasFiles = event.dataTransfer?.types.includes('Files') === true;
      const inField = event.target instanceof Element && event.target.closest('input, textarea') !== null;
      // Text may be dropped into a field.
      if (inField && !hasFiles) return;
      event.preventDefault();
      if (event.dataTransfer) event.dataTransfer.dropEffect = 'none';
      if (!hasFiles) return;
      setShown(true);
      clearTimeout(timer);
      timer = setTimeout(() => setShown(false), SHOWN_MS);
    }
    addEventListener('dragover', refuse);
    addEventListener('drop', refuse);
    return () => {
      clearTimeout(timer);
      removeEventListener('dragover', refuse);
      removeEventListener('drop', refuse);
    };
  }, []);

  return (
    <div className="drop-notice" role="status">
      {shown && <p className="banner">Files cannot be sent yet.</p>}
    </div>
  );
}
