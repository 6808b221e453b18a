;;; np-mode.el --- Editing .np, network policy for Kubernetes  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: Apache-2.0
;; Version: 0.1.0
;; Keywords: languages
;; URL: https://github.com/npc-lang/npc
;; Package-Requires: ((emacs "28.1"))

;;; Commentary:

;; Two major modes for .np, the language of npc: `np-mode' in every Emacs, and `np-ts-mode' where Emacs is
;; built with tree-sitter and has the grammar.  Eglot starts `npc lsp' for both; what the server can do
;; beyond the protocol are the commands `np-show-yaml', `np-run-tests', `np-show-pods' and `np-show-reach'.

;;; Code:

(require 'rx)
(require 'seq)

(declare-function eglot-current-server "eglot")
(declare-function eglot-uri-to-path "eglot")
(declare-function eglot--path-to-uri "eglot")
(declare-function eglot--signal-textDocument/didChange "eglot")
(declare-function eglot--uri-to-path "eglot")
(declare-function eglot-path-to-uri "eglot")
(declare-function jsonrpc-request "jsonrpc")
(declare-function treesit-font-lock-rules "treesit")
(declare-function treesit-major-mode-setup "treesit")
(declare-function treesit-parser-create "treesit.c")
(declare-function treesit-ready-p "treesit")
(defvar eglot-server-programs)
(defvar treesit-defun-type-regexp)
(defvar treesit-font-lock-feature-list)
(defvar treesit-font-lock-settings)

(defgroup np nil
  "Network policy for Kubernetes, in .np."
  :group 'languages)

(defcustom np-command "npc"
  "The command of npc, whose `lsp' is the language server."
  :type 'string)

(defcustom np-cluster-file nil
  "A file of the cluster's namespaces and pods, named from the project's root.
It is what `kubectl get namespaces,pods -A -o yaml' prints.  Counts of
pods and `np-show-reach' take it."
  :type '(choice (const :tag "None" nil) file)
  :safe #'stringp)

(defcustom np-indent-offset 2
  "Columns by which what is in braces stands further right."
  :type 'natnum
  :safe #'natnump)

;;; Words

(defvar np-base-mode-syntax-table
  (let ((table (make-syntax-table)))
    ;; Names, keys, globs, addresses and ports are one word each.
    (dolist (character '(?- ?_ ?. ?: ?* ??))
      (modify-syntax-entry character "_" table))
    ;; One is part of a word, as in tcp/53; two begin a comment.
    (modify-syntax-entry ?/ "_ 12" table)
    (modify-syntax-entry ?\n ">" table)
    (modify-syntax-entry ?\" "\"" table)
    (modify-syntax-entry ?\\ "\\" table)
    (dolist (character '(?= ?! ?> ?, ?&))
      (modify-syntax-entry character "." table))
    table)
  "What the characters of .np are.")

(eval-and-compile
  (defconst np--word "[[:alnum:]_.:*?]+\\(?:\\(?:-+\\|/\\)[[:alnum:]_.:*?]+\\)*"
    "What names, keys, globs, addresses and ports look like."))

(defconst np--keywords
  '("import" "let" "policy" "audit" "admin" "baseline" "test" "assert" "kyverno" "for" "priority" "in"
    "notin" "except" "on" "log" "from" "to" "at" "ports" "cluster" "pod" "all" "pods" "namespace"
    "namespaces" "same" "sharing" "anywhere" "ingress" "egress")
  "The keywords, but those of `np--actions'.")

(defconst np--actions '("allow" "deny" "pass" "isolate")
  "The keywords of what becomes of a connection.")

(defconst np--font-lock-keywords
  `(;; A keyword is a name where it stands as one.
    (,(concat "\\_<\\(let\\)\\s-+\\(" np--word "\\)\\s-*=")
     (1 font-lock-keyword-face) (2 font-lock-type-face))
    (,(concat "\\_<\\(policy\\)\\s-+\\(" np--word "\\)")
     (1 font-lock-keyword-face) (2 font-lock-function-name-face))
    (,(concat "\\(?:^\\|[{,]\\)\\s-*\\(" np--word "\\)\\s-*[!=]?=\\s-*\\(" np--word "\\)?")
     (1 font-lock-variable-name-face) (2 font-lock-string-face nil t))
    (,(concat "[{,]\\s-*\\(" np--word "\\)\\s-+\\(in\\|notin\\)\\s-*(")
     (1 font-lock-variable-name-face) (2 font-lock-keyword-face))
    (,(concat "\\_<\\(namespace\\)\\s-+\\(" np--word "\\)")
     (1 font-lock-keyword-face) (2 font-lock-constant-face))
    (,(regexp-opt np--actions 'symbols) . font-lock-builtin-face)
    (,(regexp-opt np--keywords 'symbols) . font-lock-keyword-face)
    (,(rx symbol-start (or "true" "false") symbol-end) . font-lock-constant-face)
    (,(rx symbol-start (or "tcp" "udp" "sctp") (? "/" (+ (any alnum "_.:*?-"))) symbol-end)
     . font-lock-constant-face)
    (,(rx symbol-start (* (any xdigit)) (any ".:") (* (any xdigit ".:")) (? "/" (+ digit)) symbol-end)
     . font-lock-constant-face))
  "How words are shown.")

(defun np--syntactic-face (state)
  "Return the face of the string or comment that STATE is in."
  (cond ((nth 3 state) 'font-lock-string-face)
        ((save-excursion
           (goto-char (nth 8 state))
           (looking-at-p (rx "//" (or "!" (seq "/" (or eol (not (any "/"))))))))
         'font-lock-doc-face)
        (t 'font-lock-comment-face)))

;;; Indentation

(defun np--before ()
  "Go to the last line before this one that has code, and return non-nil.
Where there is none, stay and return nil."
  (let ((start (point)) found)
    (beginning-of-line)
    (while (and (not found) (not (bobp)))
      (forward-line -1)
      (back-to-indentation)
      (setq found (not (or (eolp) (looking-at-p "//")))))
    (unless found (goto-char start))
    found))

(defun np--end-of-code ()
  "Go behind what this line has of code."
  (end-of-line)
  (let ((state (syntax-ppss)))
    (when (nth 4 state) (goto-char (nth 8 state))))
  (skip-chars-backward " \t"))

(defun np--brace ()
  "Return where the brace is that this line is in; nil where it is in none."
  (seq-find (lambda (place) (eq (char-after place) ?{))
            (reverse (nth 9 (syntax-ppss (line-beginning-position))))))

(defun np--continues-p ()
  "Return whether this line continues what the one above it began."
  (let ((brace (np--brace))
        (begins (save-excursion
                  (back-to-indentation)
                  (looking-at-p (rx (or "->" (seq (or "in" "on" "except") symbol-end)))))))
    (save-excursion
      (and (np--before)
           (not (and brace (<= (line-beginning-position) brace)))
           (or begins
               (progn (np--end-of-code)
                      (looking-back (rx (or "," "=" "->")) (- (point) 2))))))))

(defun np--head ()
  "Go to the first line of the statement that this line belongs to."
  (while (and (np--continues-p) (np--before)))
  (back-to-indentation))

(defun np--continued-column ()
  "Return the column of this line, which continues another."
  (let ((on (save-excursion (back-to-indentation) (looking-at-p (rx "on" symbol-end))))
        (narrower (save-excursion
                    (back-to-indentation) (looking-at-p (rx (or "in" "except") symbol-end)))))
    (save-excursion
      (np--head)
      (cond ((looking-at (rx (or "allow" "deny" "pass") (+ blank) (or "ingress" "egress") (+ blank)
                             (group (or "from" "to")) (+ blank)))
             (goto-char (if on (match-beginning 1) (match-end 0)))
             (+ (current-column) (if narrower np-indent-offset 0)))
            ((looking-at-p (rx (? "audit" (+ blank)) (? (or "admin" "baseline") (+ blank)) "policy"
                               symbol-end))
             (+ (current-column) (* 2 np-indent-offset)))
            (t (+ (current-column) np-indent-offset))))))

(defun np--column ()
  "Return the column of this line, in the style of `npc fmt'."
  (let ((brace (np--brace))
        (closes (save-excursion (back-to-indentation) (eq (char-after) ?}))))
    (cond ((and (not closes) (np--continues-p)) (np--continued-column))
          ((not brace) 0)
          (t (save-excursion
               (goto-char brace)
               (np--head)
               (+ (current-column) (if closes 0 np-indent-offset)))))))

(defun np-indent-line ()
  "Indent this line as `npc fmt' would."
  (let ((column (save-excursion (np--column)))
        (behind (- (point-max) (point))))
    (indent-line-to column)
    ;; Where the cursor stood in the text, it stays.
    (when (> (- (point-max) behind) (point))
      (goto-char (- (point-max) behind)))))

;;; Modes

(defvar np-imenu-generic-expression
  `(("Sets" ,(concat "^\\s-*let\\s-+\\(" np--word "\\)") 1)
    ("Policies" ,(concat "^\\s-*\\(?:audit\\s-+\\)?\\(?:\\(?:admin\\|baseline\\)\\s-+\\)?policy\\s-+\\("
                         np--word "\\)")
     1)
    ("Tests" "^\\s-*test\\s-+\"\\([^\"]*\\)\"" 1))
  "What Imenu lists where the server does not run.")

(defvar np-base-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map (kbd "C-c C-y") #'np-show-yaml)
    (define-key map (kbd "C-c C-t") #'np-run-tests)
    (define-key map (kbd "C-c C-p") #'np-show-pods)
    (define-key map (kbd "C-c C-r") #'np-show-reach)
    map)
  "Keys of .np.")

(define-derived-mode np-base-mode prog-mode "np"
  "What the modes for .np have in common."
  (setq-local comment-start "// "
              comment-end ""
              comment-start-skip (rx "//" (* (any "/!")) (* blank))
              indent-line-function #'np-indent-line
              indent-tabs-mode nil
              electric-indent-chars (append "}" electric-indent-chars)
              imenu-generic-expression np-imenu-generic-expression))

;;;###autoload
(define-derived-mode np-mode np-base-mode "np"
  "Editing .np, network policy for Kubernetes."
  (setq-local font-lock-defaults '(np--font-lock-keywords
                                   nil nil nil
                                   (font-lock-syntactic-face-function . np--syntactic-face))))

(defconst np--treesit-rules
  `(:language np :feature comment
    ([(doc_comment) (file_comment)] @font-lock-doc-face (comment) @font-lock-comment-face)
    :language np :feature string
    ((string) @font-lock-string-face)
    :language np :feature keyword
    ([,@np--keywords] @font-lock-keyword-face [,@np--actions] @font-lock-builtin-face)
    :language np :feature definition
    ((let name: (name) @font-lock-type-face)
     (policy name: (name) @font-lock-function-name-face))
    :language np :feature property
    ((key (word) @font-lock-variable-name-face)
     (setting key: (key) @font-lock-variable-name-face)
     (value (word) @font-lock-string-face))
    :language np :feature constant
    ((scope namespace: (name) @font-lock-constant-face)
     (namespace name: (name) @font-lock-constant-face)
     (pod namespace: (name) @font-lock-constant-face)
     (glob) @font-lock-constant-face
     ((set) @font-lock-constant-face
      (:match "\\`[0-9A-Fa-f:.]*[.:][0-9A-Fa-f:.]*\\(?:/[0-9]+\\)?\\'" @font-lock-constant-face))
     ((set) @font-lock-constant-face
      (:match "\\`\\(?:tcp\\|udp\\|sctp\\)\\(?:/.*\\)?\\'" @font-lock-constant-face))
     (policy priority: (word) @font-lock-constant-face))
    :language np :feature escape
    :override t
    ((escape) @font-lock-escape-face)
    :language np :feature error
    :override t
    ((ERROR) @font-lock-warning-face))
  "How the nodes of the grammar are shown.")

;;;###autoload
(define-derived-mode np-ts-mode np-base-mode "np"
  "Editing .np, network policy for Kubernetes, with tree-sitter.
It takes an Emacs that is built with tree-sitter, and the grammar `np'."
  (unless (and (require 'treesit nil t) (treesit-ready-p 'np t))
    (user-error "There is no tree-sitter grammar for np"))
  (treesit-parser-create 'np)
  (setq-local treesit-font-lock-settings (apply #'treesit-font-lock-rules np--treesit-rules)
              treesit-font-lock-feature-list '((comment definition)
                                               (keyword string)
                                               (constant escape property)
                                               (error))
              treesit-defun-type-regexp (rx bos (or "let" "policy" "test" "assert" "settings") eos))
  (treesit-major-mode-setup))

;;;###autoload
(add-to-list 'auto-mode-alist '("\\.np\\'" . np-mode))

;;; The language server

(put 'np-mode 'eglot-language-id "np")
(put 'np-ts-mode 'eglot-language-id "np")

(defun np--contact (&rest _)
  "Return how the server is started."
  `(,np-command "lsp" ,@(when np-cluster-file
                          `(:initializationOptions (:cluster ,np-cluster-file)))))

(with-eval-after-load 'eglot
  (add-to-list 'eglot-server-programs '((np-mode np-ts-mode) . np--contact)))

(defun np--ask (method &rest parameters)
  "Return the server's answer to METHOD with PARAMETERS, about this buffer.
Where it has none, signal an error with its reason."
  (let ((server (or (and (fboundp 'eglot-current-server) (eglot-current-server))
                    (user-error "The language server does not run: start it with M-x eglot")))
        (uri (if (fboundp 'eglot-path-to-uri)
                 (eglot-path-to-uri buffer-file-name)
               (eglot--path-to-uri buffer-file-name))))
    ;; Eglot puts off what was typed last, but not for a question.
    (when (fboundp 'eglot--signal-textDocument/didChange)
      (eglot--signal-textDocument/didChange))
    (let* ((parameters `(:textDocument (:uri ,uri) ,@parameters))
           (answer (jsonrpc-request server method parameters))
           (why (plist-get answer :why)))
      (if why (user-error "%s" why) answer))))

(defun np--show (name text &optional line)
  "Show TEXT in the buffer NAME, with LINE, from zero, at its top."
  (with-current-buffer (get-buffer-create name)
    (let ((inhibit-read-only t))
      (erase-buffer)
      (insert text)
      (goto-char (point-min))
      (forward-line (or line 0)))
    (special-mode)
    (let ((window (display-buffer (current-buffer))))
      (when window
        (set-window-point window (point))
        (set-window-start window (point))))))

(defun np--policy-at-point ()
  "Return the name of the policy that the cursor is in, or of the last above."
  (save-excursion
    (end-of-line)
    (when (re-search-backward (cadr (assoc "Policies" np-imenu-generic-expression)) nil t)
      (match-string-no-properties 1))))

(defun np-show-yaml (target)
  "Show what the program becomes for TARGET, at the policy of the cursor.
With a prefix argument, ask for TARGET; by itself it is `kyverno'."
  (interactive
   (list (if current-prefix-arg
             (completing-read "Target: "
                              '("kyverno" "kyverno-cel" "networkpolicy" "clusternetworkpolicy") nil t)
           "kyverno")))
  (let* ((policy (np--policy-at-point))
         (answer (apply #'np--ask :npc/yaml :target target (when policy `(:policy ,policy)))))
    (np--show "*np YAML*" (plist-get answer :text) (plist-get answer :line))))

(defun np-show-pods (policy)
  "Show the pods that are selected by POLICY: that of the cursor."
  (interactive (list (or (np--policy-at-point) (user-error "There is no policy above"))))
  (np--show "*np pods*" (mapconcat #'identity (plist-get (np--ask :npc/pods :policy policy) :pods) "\n")))

(defun np-show-reach ()
  "Open the page of who reaches whom in the cluster of `np-cluster-file'."
  (interactive)
  (let ((page (make-temp-file "np-reach" nil ".html" (plist-get (np--ask :npc/reach) :html))))
    (browse-url-of-file page)))

(defun np--insert-failure (failure)
  "Insert FAILURE of a test as compilers write theirs."
  (let ((start (plist-get (plist-get failure :range) :start))
        (uri (plist-get failure :uri)))
    (insert (format "%s:%d: %s\n"
                    (if (fboundp 'eglot-uri-to-path) (eglot-uri-to-path uri) (eglot--uri-to-path uri))
                    (1+ (plist-get start :line))
                    (plist-get failure :message)))))

(defun np-run-tests ()
  "Run every test and assertion of the program, and list what fails."
  (interactive)
  (let* ((results (plist-get (np--ask :npc/runTests) :results))
         (failed (seq-remove (lambda (test) (eq (plist-get test :passed) t)) results)))
    (if (not failed)
        (message "%d tests pass" (length results))
      (with-current-buffer (get-buffer-create "*np tests*")
        (let ((inhibit-read-only t))
          (erase-buffer)
          (dolist (test failed)
            (mapc #'np--insert-failure (plist-get test :failures))))
        (compilation-mode)
        (display-buffer (current-buffer)))
      (message "%d of %d tests failed" (length failed) (length results)))))

(provide 'np-mode)

;;; np-mode.el ends here
