import { type KeyboardEvent, type ReactNode, useEffect, useRef, useState } from 'react';

interface MenuItem {
  readonly label: string;
  readonly danger?: boolean;
  act(): void;
}

interface MenuProps {
  /** Accessible name of the menu. */
  readonly label: string;
  readonly className: string;
  readonly items: readonly MenuItem[];
  readonly children?: ReactNode;
}

/** A button with a menu below it, or above it where there is more room. Its container has to be positioned. */
export function Menu({ label, className, items, children }: MenuProps) {
  const [open, setOpen] = useState<'up' | 'down' | null>(null);
  const button = useRef<HTMLButtonElement>(null);
  const menu = useRef<HTMLDivElement>(null);

  useEffect(() => {
    if (open) menu.current?.querySelector('button')?.focus();
  }, [open]);

  function toggle() {
    const { top = 0 } = button.current?.getBoundingClientRect() ?? {};
    setOpen(open ? null : top > innerHeight / 2 ? 'up' : 'down');
  }

  function onKeyDown(event: KeyboardEvent) {
    const all = [...(menu.current?.querySelectorAll('button') ?? [])];
    const at = all.indexOf(document.activeElement as HTMLButtonElement);
    const last = all.length - 1;
    const to = { ArrowDown: at === last ? 0 : at + 1, ArrowUp: at === 0 ? last : at - 1, Home: 0, End: last }[
      event.key
    ];
    if (event.key === 'Escape') {
      setOpen(null);
      button.current?.focus();
    } else if (to !== undefined) all[to]?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  return (
    <>
      <button
        ref={button}
        type="button"
        className={className}
        aria-label={label}
        title={label}
        aria-haspopup="menu"
        aria-expanded={open !== null}
        onClick={toggle}
      >
        {children}
      </button>
      {open && (
        <div
          ref={menu}
          className={`menu ${open}`}
          role="menu"
          tabIndex={-1}
          aria-label={label}
          onKeyDown={onKeyDown}
          onBlur={({ relatedTarget }) => {
            if (relatedTarget !== button.current && !menu.current?.contains(relatedTarget)) setOpen(null);
          }}
        >
          {items.map((item) => (
            <button
              key={item.label}
              type="button"
              role="menuitem"
              tabIndex={-1}
              className={item.danger ? 'danger' : undefined}
              onClick={() => {
                setOpen(null);
                button.current?.focus();
                item.act();
              }}
            >
              {item.label}
            </button>
          ))}
        </div>
      )}
    </>
  );
}
