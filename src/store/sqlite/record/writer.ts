import type Database from 'libsql';
import type { RegisterBatch } from '../../store.ts';

/** A batch as JSON: hashes are in base64. */
export type RegisterRows = Omit<RegisterBatch, 'tiles'> & {
  readonly tiles: readonly (Omit<RegisterBatch['tiles'][number], 'hashes'> & { readonly hashes: string })[];
};

export function rowsOf(batch: RegisterBatch): RegisterRows {
  return { ...batch, tiles: batch.tiles.map((tile) => ({ ...tile, hashes: tile.hashes.toString('base64') })) };
}

/** Writes to the register and its checkpoint, in the transaction under way. */
export function createRecordWriter(db: Database.Database) {
  const grow = db.prepare('UPDATE record SET size = size + @count WHERE size = @size');
  const abandon = db.prepare('UPDATE record SET abandoned = ?, checkpoint = NULL, checkpoint_size = 0');
  const addLeaf = db.prepare(`INSERT INTO register (idx, conversation, rev, leaf)
    VALUES (@index, (SELECT pk FROM conversations WHERE id = @conversation), @rev, @leaf)`);
  const setTile = db.prepare(`INSERT INTO tiles (log, level, idx, hashes)
    VALUES (coalesce((SELECT pk FROM conversations WHERE id = @log), 0), @level, @index, @hashes)
    ON CONFLICT (log, level, idx) DO UPDATE SET hashes = excluded.hashes`);
  const setRegistered = db.prepare(`UPDATE conversations SET registered_rev = @rev, unregistered = last_rev > @rev
    WHERE id = @conversation`);
  const seal = db.prepare(`UPDATE members SET unsealed = 0 WHERE email = @member AND read_seq = @readSeq
    AND conversation = (SELECT pk FROM conversations WHERE id = @conversation)`);
  const setCheckpoint = db.prepare(
    'UPDATE record SET checkpoint = @checkpoint, checkpoint_size = @size WHERE checkpoint_size <= @size',
  );

  return {
    addToRegister({ size, leaves, tiles, registered, sealed, abandons }: RegisterRows): boolean {
      if (grow.run({ size, count: leaves.length }).changes === 0) return false;
      for (const [index, leaf] of leaves.entries()) addLeaf.run({ ...leaf, index: size + index });
      for (const tile of tiles) setTile.run({ ...tile, hashes: Buffer.from(tile.hashes, 'base64') });
      for (const one of registered) setRegistered.run(one);
      for (const { conversation, reads } of sealed)
        for (const [member, readSeq] of reads) seal.run({ conversation, member, readSeq });
      if (abandons !== undefined) abandon.run([abandons]);
      return true;
    },
    setCheckpoint: (checkpoint: string, size: number): boolean => setCheckpoint.run({ checkpoint, size }).changes > 0,
  };
}
